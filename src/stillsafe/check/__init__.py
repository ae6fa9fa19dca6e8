"""What `stillsafe check` finds about a service: a module per subject."""
