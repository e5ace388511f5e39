"""What a scheduled step computes: decode steps, flow chunks, vocoder windows."""
