"""Start the web app: `python app.py [--host H] [--port P] [--experts DIR] [--device NAME]`."""

from app.main import main

if __name__ == "__main__":
    main()
