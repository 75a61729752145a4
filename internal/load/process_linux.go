package load

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on all platforms that
// Go supports.
const clockTick = 10 * time.Millisecond

// cpuOf returns the user and system time of each process.
func cpuOf(pids []int) (all []time.Duration, err error) {
	for _, pid := range pids {
		b, err := ofProcess(pid, "stat")
		if err != nil {
			return nil, err
		}
		total := time.Duration(0)
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // the name before it can contain any byte
		for _, i := range []int{11, 12} {
			ticks, err := strconv.ParseInt(string(fields[i]), 10, 64)
			if err != nil {
				return nil, err
			}
			total += time.Duration(ticks) * clockTick
		}
		all = append(all, total)
	}
	return all, nil
}

func ofProcess(pid int, file string) ([]byte, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ESRCH):
		return nil, fmt.Errorf("the server's process %d does not exist", pid)
	case err == nil && len(b) == 0:
		return nil, fmt.Errorf("the server's process %d is exiting", pid)
	}
	return b, err
}

// rssOf returns the resident memory of processes in bytes.
func rssOf(pids []int) (total int64, err error) {
	for _, pid := range pids {
		b, err := ofProcess(pid, "statm")
		if err != nil {
			return 0, err
		}
		pages, err := strconv.ParseInt(string(bytes.Fields(b)[1]), 10, 64)
		if err != nil {
			return 0, err
		}
		total += pages * int64(os.Getpagesize())
	}
	return total, nil
}

// ownCPU returns the user and system time of this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// checkFiles returns an error if the limit of open files is below need.
func checkFiles(need int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if uint64(need) > limit.Cur { //nolint:gosec // not negative
		return fmt.Errorf("too many clients: they need %d open files, but the limit is %d (raise it with \"ulimit -n\", "+
			"or use fewer clients)", need, limit.Cur)
	}
	return nil
}

// FindPIDs returns the processes that listen at an address of this machine, if /proc
// shows them to the current user.
func FindPIDs(addr string) ([]int, error) {
	target, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	var sockets []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(table) //nolint:gosec // one of two constants
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		sockets = append(sockets, listeners(string(b), target.Port())...)
	}
	var pids []int
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, file := range files {
		link, err := os.Readlink(file)
		if err != nil || !slices.Contains(sockets, link) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err == nil && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// listeners returns the sockets in a table of /proc/net that listen at a port, with
// their names in /proc/PID/fd.
func listeners(table string, port uint16) (sockets []string) {
	suffix := fmt.Sprintf(":%04X", port)
	const listening = "0A"
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == listening {
			sockets = append(sockets, "socket:["+fields[9]+"]")
		}
	}
	return sockets
}
