"""What stands between the network and the page: open routes, limits, and patches of Gradio."""
