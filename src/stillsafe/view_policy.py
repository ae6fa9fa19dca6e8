"""The headers of every page that a person opens: nothing from elsewhere, no frame around it, and no copy kept."""

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    # With `no-referrer` a browser would send `Origin: null` with a form, which the gate takes for another site's page.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

LIVE_PAGE_HEADERS = PAGE_HEADERS | {
    "Content-Security-Policy": PAGE_HEADERS["Content-Security-Policy"].replace(
        "style-src 'self'", "style-src 'self'; script-src 'self'; connect-src 'self'"
    )
}
"""The same for a page that updates itself by the service's own script."""
