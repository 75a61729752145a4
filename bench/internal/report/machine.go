package report

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Machine describes the machine, as lines of a Markdown list.
func Machine(ctx context.Context) []string {
	lines := []string{
		fmt.Sprintf("%d × %s, %s of memory", runtime.NumCPU(), field("/proc/cpuinfo", "model name"), memory()),
		fmt.Sprintf("%s, %s/%s", output(ctx, "uname", "-sr"), runtime.GOOS, runtime.GOARCH),
		runtime.Version(),
	}
	if v := output(ctx, "node", "--version"); v != "" {
		lines = append(lines, "Node.js "+v)
	}
	if v := output(ctx, "python3", "--version"); v != "" {
		lines = append(lines, v)
	}
	return lines
}

// Now returns the time for the report.
func Now() string { return time.Now().UTC().Format("2006-01-02 15:04 UTC") }

func output(ctx context.Context, command ...string) string {
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// field returns the value after a name and a colon in a file of /proc.
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func memory() string {
	var kib float64
	if _, err := fmt.Sscan(field("/proc/meminfo", "MemTotal"), &kib); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}
