"""Reports: score the saved heads, compare them, say what came out."""
