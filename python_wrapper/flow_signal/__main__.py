from flow_signal.cli import main

if __name__ == "__main__":
    main()
