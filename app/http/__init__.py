"""What stands between the network and the page: open routes, limits, patches of Gradio."""
