"""Who may use the page: a guard in front of all of its routes; knows none of them."""
