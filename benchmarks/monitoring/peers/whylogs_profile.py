"""whylogs' profile of all columns; it is not compared with anything."""

import os

os.environ["WHYLOGS_NO_ANALYTICS"] = "True"  # whylogs reports every use to its makers otherwise

import cost_report
import whylogs

if __name__ == "__main__":
    _, current = cost_report.tables()
    cost_report.print_cost(lambda: whylogs.log(pandas=current).view().to_pandas())
