#!/usr/bin/env python3
"""Open a one-time door of tirl: one-time-client.py HOSTS-FILE HOST DOOR (one-time.md has the format)."""
import base64, contextlib, fcntl, hmac, json, os, socket, struct, sys, time, tomllib

def packets(door, i):
    """What is sent for number i: protocol, port and payload of each packet."""
    lo, _, hi = door["ports"].partition("-")
    port = lambda word: int(lo) + struct.unpack(">I", word)[0] % (int(hi or lo) - int(lo) + 1)
    mac = lambda context: hmac.digest(base64.b64decode(door["secret"]), context + struct.pack(">Q", i), "sha256")
    if door["one_time"] == "token":
        m = mac(b"tirl one-time token v1")
        return [("udp", port(m[16:20]), m[:16])]
    m = mac(b"tirl one-time sequence v1")
    first, number = door["first"].split("/")
    return [(first, int(number), b"")] + [("udp", port(m[4 * j:4 * j + 4]), b"") for j in range(door["length"] - 1)]

def after(i, pool, times=1):
    for _ in range(times):  # the first number of a block is for hosts that have lost their pool
        i += 2 if (i + 1) % pool == 0 else 1
    return i

def candidates(c, tries, pool):
    return [c, after(c, pool, 1 + tries % (pool // 4 - 1)), (c // pool + 1) * pool, (c // pool + 2) * pool]

def send(address, all):
    for proto, port, payload in all:
        family, kind = socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
        with socket.socket(family, kind) as s, contextlib.suppress(OSError):
            s.settimeout(0.05)
            s.connect((address, port))
            s.send(payload)
        time.sleep(0.1)

def save(path, **state):
    with open(path + ".new", "w") as f:
        json.dump(state, f)
        f.flush(), os.fsync(f.fileno())
    os.replace(path + ".new", path)

def knock(path, address, door):
    """Try the candidates until a TCP service of the door answers, and give the number that was sent last."""
    c, tries, sent, pool = door["start"], 0, [], door["pool"]
    with contextlib.suppress(FileNotFoundError), open(path) as f:
        c, tries, sent = json.load(f).values()
    service = next(int(s[4:].split("-")[0]) for s in door["opens"] if s.startswith("tcp/"))
    for i in (numbers := candidates(max(c, door["start"]), tries, pool))[:1] + numbers:
        sent = sorted({i, *sent})
        save(path, next=c, tries=tries + 1, sent=sent)  # before it is on the wire
        send(address, packets(door, i))
        with contextlib.suppress(OSError), socket.create_connection((address, service), timeout=1.5):
            save(path, next=after(max([i] + [n for n in sent if n % pool and n <= i + pool // 4]), pool), tries=0, sent=[])
            [send(address, packets(door, n)) for n in reversed(sent)]  # once more, for the host to spend them
            return i

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as f, open(sys.argv[1] + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host = tomllib.load(f)["host"][sys.argv[2]]
        print(knock(f"{sys.argv[1]}.{sys.argv[3]}.json", host["addresses"][0], host["door"][sys.argv[3]]))
