"""What a run would refuse, told before it starts; and what check_data reports."""
