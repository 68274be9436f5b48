"""Apply a model from a script, file by file, and keep going when a file is damaged.

python examples/convert_in_batches.py runs/cyclegan-horse2zebra-001 photos/ converted/
"""

import sys
from pathlib import Path

import i2i

model = i2i.load(sys.argv[1])
for record in model.translate_folder([Path(sys.argv[2])], Path(sys.argv[3]), existing="skip"):
    print(record.status, record.input, "->", record.output, record.error or "")
