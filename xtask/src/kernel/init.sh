#!/bin/busybox sh
# First process of a guest of `cargo xtask kernel`: starts the sensor, makes one AI call over TLS, says what was seen;
# then, or only ($ONLY), whether bytes that several threads on the one CPU write and read are each their own.
# Each step ends with a line `guest: STEP ok SECONDS` or `guest: STEP failed SECONDS`.
/bin/busybox mkdir -p /sys/fs /usr/bin
/bin/busybox --install -s /bin
export PATH=/bin OPENSSL_CONF=/etc/openssl.cnf HOME=/root

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /sys/fs/bpf /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
echo 3 >/proc/sys/kernel/printk
ip link set lo up

tell() { echo "guest: $1 $2 $(cut -d' ' -f1 /proc/uptime)"; }
step() {
    name=$1
    shift
    if "$@"; then
        tell "$name" ok
    else
        tell "$name" failed
        return 1
    fi
}
# Waits for a condition, in steps of 50 ms, so many times.
wait_for() {
    left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.05
    done
}

listens() { grep -q ':01BB 0*:0000 0A' /proc/net/tcp /proc/net/tcp6; }
is_ready() { grep -q '"event.name":"tollgate.agent"' /tmp/events || ! kill -0 "$agent"; }
is_seen() {
    grep '"event.name":"tollgate.call"' /tmp/events | grep '"gen_ai.usage.input_tokens":19' |
        grep -q '"gen_ai.usage.output_tokens":7'
}

start_agent() {
    : >/tmp/events
    tollgate run --output json "$@" >/tmp/events 2>/tmp/agent.log &
    agent=$!
    wait_for 400 is_ready && kill -0 "$agent"
}

# One connection. The client speaks once its handshake is over, the server once it has read the whole question.
exchange() {
    rm -f /tmp/say /tmp/ask
    mkfifo /tmp/say /tmp/ask
    openssl s_server -accept 443 -naccept 1 -quiet -cert /root/cert.pem -key /root/key.pem \
        </tmp/say >/tmp/heard 2>/tmp/server.log &
    server=$!
    exec 3>/tmp/say
    wait_for 100 listens
    openssl s_client -connect 127.0.0.1:443 -servername api.openai.com -nocommands \
        </tmp/ask >/tmp/answer 2>/tmp/client.log &
    client=$!
    exec 4>/tmp/ask
    wait_for 100 grep -q 'Verify return code' /tmp/answer
    cat /root/request >&4
    wait_for 100 grep -q '"messages"' /tmp/heard && cat /root/answer >&3
    wait_for 100 grep -q 'chatcmpl-guest' /tmp/answer
    answered=$?
    exec 3>&- 4>&-
    kill "$client" "$server"
    wait "$client" "$server"
    return "$answered"
}

# The sensor may miss the first call of a program that it has never seen; it then knows the program.
call() {
    for try in 1 2 3; do
        exchange || echo "exchange $try failed: $(cat /tmp/client.log /tmp/server.log)"
        if wait_for 60 is_seen; then
            echo "call seen at try $try"
            return 0
        fi
    done
    return 1
}

stop_agent() {
    kill -INT "$agent"
    has_ended() { ! kill -0 "$agent"; }
    wait_for 100 has_ended && [ -z "$(ls /sys/fs/bpf)" ]
}

# An enforcing agent proves its layers. Before Linux 6.10 content cannot be judged: an agent that should is not ready, and
# says why. The gate outlives its agent, and goes with one that is told to enforce nothing.
gate_test() {
    mkdir -p /sys/fs/cgroup/told
    printf '[enforce]\nenabled = true\nproof_seconds = 1\norders = "/root/orders"\n[report]\nlisten = "127.0.0.1:9464"\n' \
        >/root/gate.toml
    printf '[[subject]]\nname = "told"\ncgroups = ["/sys/fs/cgroup/told"]\ndeny_paths = ["openai * /none"]\n' >/root/orders
    start_agent --config /root/gate.toml || return 1
    fetch() { wget -q -O - "http://127.0.0.1:9464/$1"; }
    is_proven() { fetch metrics | grep "^tollgate_enforcement_layer_proven{layer=\"$1\"} $2"; }
    for layer in links address datagram name change; do
        wait_for 100 is_proven "$layer" 1 || return 1
    done
    if judges; then
        wait_for 100 is_proven content 1 || return 1
        fetch readyz | grep '^ready' || return 1
    else
        is_proven content 0 || return 1
        # A red answer is an error to wget: the status tells the same.
        tollgate status --config /root/gate.toml | grep 'Linux 6.10 or newer' || return 1
    fi
    kill -INT "$agent"
    wait "$agent"
    [ -n "$(ls /sys/fs/bpf)" ] || return 1
    start_agent && stop_agent
}
# Whether the kernel keeps probes to one process: 6.10 or newer.
judges() {
    release=$(uname -r)
    major=${release%%.*}
    minor=${release#*.}
    minor=${minor%%.*}
    [ "$major" -gt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -ge 10 ]; }
}

# Threads and rounds: some 37,000 calls.
preemption_test() { preemption /bin/patterns 4 2000; }

tell boot ok
echo "release: $(uname -r)"
if [ "$ONLY" = preemption ]; then
    step preemption preemption_test
    tell end ok
    poweroff -f
fi
step doctor tollgate doctor --output json
if step attach start_agent; then
    step call call
    step stop stop_agent
fi
step gate gate_test
step preemption preemption_test
echo "agent's log:"
cat /tmp/agent.log
echo "agent's events:"
tail -n 20 /tmp/events
tell end ok
poweroff -f
