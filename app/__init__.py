"""What people see: the Gradio page, its plots and each visitor's session; no tensor maths lives here."""
