from pathlib import Path

from torch.utils.data import DataLoader, Dataset


class Slides(Dataset):
    def __init__(self, root):
        self.paths = sorted(Path(root).rglob("*.raw"))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        path = self.paths[index]
        return path.name, open(path, "rb").read()


def load(root="/data/slides@main"):
    return DataLoader(Slides(root), batch_size=64, shuffle=True, num_workers=4)
