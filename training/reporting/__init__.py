"""What a run leaves behind: report, figures, and the package that the registry takes."""
