"""Where a planted answer is taken up on the way to the answer slot.

`pairs` makes chats that differ in the planted value alone; `reading` looks through the lens and at
attention; `knockout` cuts edges of attention; `patching` swaps states; `analysis` puts them in one
result, `explain` is the command.
"""
