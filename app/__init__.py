"""What people see: the Gradio page, its charts, and each visitor's session. No tensor maths is here."""
