"""How people look at robots: videos, plots, learning curves."""
