"""What fits Worchflow into other libraries; each module needs the one it names."""
