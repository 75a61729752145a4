package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// What a machine should have that serves many clients.
const (
	manyFiles   = 10_000
	longBacklog = 1024
	manyPorts   = 10_000
)

// checkMachine looks at the limits of this machine, which matter if the server
// or a proxy runs here, or another machine that is configured like it.
func (x *exam) checkMachine(context.Context) {
	var fine []string
	judge := func(n, enough int, what, remedy string) {
		text := fmt.Sprintf("%d %s", n, what)
		if n < enough {
			x.warn(machine, text, remedy)
			return
		}
		fine = append(fine, text)
	}
	if n, ok := openFiles(); ok {
		judge(n, manyFiles, "open files (a server needs one a client, a proxy two)",
			"if a server or proxy runs here: raise the limit (systemd: LimitNOFILE=1048576; shell: ulimit -n)")
	}
	if n, ok := kernel("net/core/somaxconn"); ok {
		judge(n[0], longBacklog, "connections that may wait to be accepted",
			"sysctl net.core.somaxconn=4096, or clients that come back all at once are refused")
	}
	if n, ok := kernel("net/ipv4/ip_local_port_range"); ok && len(n) == 2 {
		judge(n[1]-n[0]+1, manyPorts, "ports (a proxy needs one a client)",
			"if a proxy runs here: sysctl net.ipv4.ip_local_port_range=\"1024 65535\", or give the server more addresses")
	}
	if len(fine) > 0 {
		x.ok(machine, "%s", strings.Join(fine, ", "))
	}
}

// kernel returns the numbers of a setting, where there is a /proc.
func kernel(name string) ([]int, bool) {
	text, err := os.ReadFile("/proc/sys/" + name) //nolint:gosec // the names are those above
	if err != nil {
		return nil, false
	}
	var numbers []int
	for field := range strings.FieldsSeq(string(text)) {
		n, err := strconv.Atoi(field)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, len(numbers) > 0
}
