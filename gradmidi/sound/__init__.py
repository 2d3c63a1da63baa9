"""Turn events into samples: synthesiser, timbres, audio files, stems."""
