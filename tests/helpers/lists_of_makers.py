"""Lists as documented by their makers and by the systems that read them."""

import json

UCF = ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "HandstandPushups/v_HandStandPushups_g01_c01", "YoYo/v_YoYo_g25_c05")
CLASS_OF_UCF = {name: name.split("/")[0] for name in UCF}
FRAMES = (164, 29, 300)
# Lists of one file, as the spec or the system's own page shows them, with the videos of UCF in order.
FILES = {
    "trainlist01.txt": "".join(f"{name}.avi {label}\r\n" for name, label in zip(UCF, (1, 37, 101), strict=True)),
    "testlist01.txt": "".join(f"{name}.avi\r\n" for name in UCF),
    # CtP, specs/ctp.md 5: objects of name and label; lines of name and label.
    "train_split_1.json": json.dumps([{"name": n, "label": i} for n, i in zip(UCF, (1, 37, 101), strict=True)]),
    "train_split_1.txt": "".join(f"{name} {label}\n" for name, label in zip(UCF, (1, 37, 101), strict=True)),
    # CSTP, specs/cstp.md 6.2
    "trainlist02.txt": "".join(f"{name}.mp4 {label}\n" for name, label in zip(UCF, (0, 36, 100), strict=True)),
    "trainlist01_nframe.txt": "".join(
        f"{name}.avi {i} {n}\n" for name, i, n in zip(UCF, (0, 1, 2), FRAMES, strict=True)
    ),
    "val_list.txt": "".join(f"{name}\n" for name in UCF),
    "val_list_label.txt": "".join(f"val/{name}.mp4  {i}\n" for i, name in enumerate(UCF)),
    "val_list_label_nframe.txt": "".join(
        f"val/{name}.mp4  {i}  {n}\n" for i, (name, n) in enumerate(zip(UCF, FRAMES, strict=True))
    ),
    # CPC and CoCLR, specs/cpc_transformer.md 1: a slash after the folder; Concepts, its README.
    "train_split03.csv": "".join(f"/root/tmp/frame/{name}/,{n}\r\n" for name, n in zip(UCF, FRAMES, strict=True)),
    "kinetics.csv": "".join(f"/root/ucf-101/train/{name},{n}\n" for name, n in zip(UCF, FRAMES, strict=True)),
    "ucf_train.csv": "".join(f"/r/train/{name},{n},{i}\n" for i, (name, n) in enumerate(zip(UCF, FRAMES, strict=True))),
    # mmaction2's rawframes and videos.
    "rawframes.txt": "".join(f"{name} {n} {i}\n" for i, (name, n) in enumerate(zip(UCF, FRAMES, strict=True))),
    "videos.txt": "".join(f"some/path/{name}.mp4 {i}\n" for i, name in enumerate(UCF)),
    "comma.txt": "".join(f"{name},{i}\n" for i, name in enumerate(UCF)),
    "semicolon.csv": "".join(f"{name};{name.split('/')[0]}\n" for name in UCF),
    "tabs.tsv": "".join(f"{name}.mp4\t{i}\n" for i, name in enumerate(UCF)),
    "header.csv": "Video,Class,seconds\n" + "".join(f'"{name}.mp4","{name.split("/")[0]}",3\n' for name in UCF),
    "header_path.csv": "label;file_path\n" + "".join(f"{i};./{name}.mp4\n" for i, name in enumerate(UCF)),
    # pandas: row numbers before the columns; names with spaces in quotation marks between spaces, as V-JEPA reads them
    "row_numbers.csv": ",path,label\n" + "".join(f"{i},{name}.mp4,{i}\n" for i, name in enumerate(UCF)),
    "unnamed.csv": "Unnamed: 0,path,label\n" + "".join(f"{i},{name}.mp4,{i}\n" for i, name in enumerate(UCF)),
    "spaces.csv": f"/v/{UCF[0]}.mp4 0\n" + "".join(f'"/my v/{UCF[i]}.mp4" {i}\n' for i in (1, 2)),
    "Diving48_V2_train.json": json.dumps(
        [{"vid_name": name, "label": i, "start_frame": 0, "end_frame": 163} for i, name in enumerate(UCF)]
    ),
    "names.json": json.dumps([f"{name}.mp4" for name in UCF], indent=2),
    "mapping.json": json.dumps({name: name.split("/")[0] for name in UCF}),
    "lines.jsonl": "".join(json.dumps({"video": f"{name}.mp4", "label": i}) + "\n" for i, name in enumerate(UCF)),
}
KINETICS = "label,youtube_id,time_start,time_end,split{cc}\n"


SSV2 = {  # entries as its page shows them, and labels.json with ids as strings
    "labels": {"Approaching something with your camera": "0", "Holding something": "1", "Moving something up": "2"},
    "train": [
        {"id": "74225", "label": "moving tv up", "template": "Moving [something] up", "placeholders": ["tv"]},
        {"id": "78687", "label": "holding cup", "template": "Holding [something]", "placeholders": ["cup"]},
    ],
    "validation": [
        {"id": "2", "label": "holding a bag", "template": "Holding [something]", "placeholders": ["a bag"]},
    ],
    "test": [{"id": "1420"}],
}
