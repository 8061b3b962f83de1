"""The pytest plug-in of promptport, found by its entry point."""
