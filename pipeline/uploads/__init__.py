"""What the page is given: kept until it is whole, checked, put where it belongs; knows no web."""
