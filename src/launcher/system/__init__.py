"""What differs between Linux, macOS and Windows and more than one room needs: children, files, words of a command."""
