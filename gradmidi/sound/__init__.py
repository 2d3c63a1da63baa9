"""Events to samples: synthesiser, timbre, audio files, stems."""
