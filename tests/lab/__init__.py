"""The lab: machines that the tests reach over SSH, and faults on the way to them."""
