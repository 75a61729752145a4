package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// The limits that a machine should have to serve many clients.
const (
	manyFiles   = 10_000
	longBacklog = 1024
	manyPorts   = 10_000
)

// checkMachine checks the limits of this machine. They matter if the server or a proxy
// runs here, or on a machine with the same configuration.
func (x *checker) checkMachine(context.Context) {
	var fine []string
	judge := func(n, enough int, what, fix string) {
		text := fmt.Sprintf("%d %s", n, what)
		if n < enough {
			x.warn(machine, text, fix)
			return
		}
		fine = append(fine, text)
	}
	if n, ok := openFiles(); ok {
		judge(n, manyFiles, "open files (a server needs one per client, a proxy two)",
			"if a server or proxy runs here: raise the limit (systemd: LimitNOFILE=1048576; shell: ulimit -n)")
	}
	if n, ok := kernel("net/core/somaxconn"); ok {
		judge(n[0], longBacklog, "connections in the accept queue",
			"sysctl net.core.somaxconn=4096; otherwise connections fail when many clients reconnect at once")
	}
	if n, ok := kernel("net/ipv4/ip_local_port_range"); ok && len(n) == 2 {
		judge(n[1]-n[0]+1, manyPorts, "ports (a proxy needs one per client)",
			"if a proxy runs here: sysctl net.ipv4.ip_local_port_range=\"1024 65535\", or use several addresses for the server")
	}
	if len(fine) > 0 {
		x.ok(machine, "%s", strings.Join(fine, ", "))
	}
}

// kernel returns the numbers of a kernel setting, on systems with /proc.
func kernel(name string) ([]int, bool) {
	text, err := os.ReadFile("/proc/sys/" + name) //nolint:gosec // the names are constants
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
