"""What a scheduled step computes: decode steps, flow steps, vocoder windows."""
