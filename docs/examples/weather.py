"""A tool for the README's first command."""

import promptport as pp


@pp.tool
def get_weather(city: str) -> str:
    """Current weather of a city.

    Args:
        city: the city's name, such as Paris.
    """
    return f"It is sunny in {city}, 21 degrees Celsius, with a light wind from the west."
