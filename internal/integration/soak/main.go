// Command soak loads a server for a long time with clients that connect and disconnect
// in many ways, correct and incorrect, and prints the resources that the server uses. It
// fails if they grow.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

const serverEnv = "POND_SOAK_SERVER"

func main() {
	if os.Getenv(serverEnv) != "" {
		exit(serve())
	}
	duration := flag.Duration("duration", 10*time.Minute, "duration of the test")
	flag.Parse()
	exit(soak(*duration))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func soak(duration time.Duration) error {
	s, err := start()
	if err != nil {
		return err
	}
	defer s.stop()
	h, err := open(s.addr)
	if err != nil {
		return err
	}
	defer h.close()

	fmt.Println("  time   visits   rss KiB  heap KiB  goroutines  descriptors")
	series := map[string][]point{}
	began := time.Now()
	for next := began; time.Since(began) < duration; {
		if err := h.round(); err != nil {
			return err
		}
		c, err := s.settle()
		if err != nil {
			return err
		}
		if time.Now().Before(next) {
			continue
		}
		next = next.Add(max(duration/60, time.Second))
		at := time.Since(began)
		fmt.Printf("%6.0f %8d %9d %9d %11d %12d\n", at.Seconds(), h.visits, c.RSS>>10, c.Heap>>10, c.Goroutines, c.Descriptors)
		if at < duration/5 {
			continue // pools and the heap still grow to their usual size
		}
		for name, value := range map[string]float64{
			"rss": float64(c.RSS), "heap": float64(c.Heap), "goroutines": float64(c.Goroutines), "fds": float64(c.Descriptors),
		} {
			series[name] = append(series[name], point{at.Seconds(), value})
		}
	}
	return judge(series)
}

// idle is the number of goroutines that a server may keep for later messages. They are
// started one by one when many messages arrive at once, which does not happen often.
var idle = 8 * runtime.GOMAXPROCS(0)

// tolerances has the allowed growth of each series in one run. A leak in every visit
// grows by more in ten minutes.
var tolerances = map[string]float64{"rss": 4 << 20, "heap": 1 << 20, "goroutines": float64(1 + idle), "fds": 1}

// fewest is the smallest number of samples for a result.
const fewest = 8

func judge(series map[string][]point) error {
	var failures []error
	for _, name := range slices.Sorted(maps.Keys(series)) {
		points := series[name]
		if len(points) < fewest {
			return fmt.Errorf("%d samples are not enough: use a longer -duration", len(points))
		}
		grown := growth(points)
		fmt.Printf("%s: grew by %.0f, allowed %.0f\n", name, grown, tolerances[name])
		if grown > tolerances[name] {
			failures = append(failures, fmt.Errorf("%s grew by %.0f in %.0f s", name, grown, points[len(points)-1].seconds))
		}
	}
	return errors.Join(failures...)
}

// A server is this program, running as a server in a second process.
type server struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	addr string
}

func start() (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self) //nolint:gosec,noctx // it is this program, and it exits at the end of its input
	cmd.Env = append(os.Environ(), serverEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, in: in, out: bufio.NewReader(out)}
	line, err := s.out.ReadString('\n')
	s.addr = strings.TrimSpace(line)
	return s, err
}

func (s *server) stop() {
	_ = s.in.Close()
	_ = s.cmd.Wait()
}

// cost requests the cost of the server.
func (s *server) cost() (c cost, err error) {
	if _, err := fmt.Fprintln(s.in, "cost"); err != nil {
		return cost{}, err
	}
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		return cost{}, err
	}
	return c, json.Unmarshal(line, &c)
}

// settle waits until only the residents and their goroutines remain, and returns the
// cost of the server.
func (s *server) settle() (cost, error) {
	limit := time.Now().Add(timeout)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for ; ; <-again.C {
		c, err := s.cost()
		switch {
		case err != nil:
			return cost{}, err
		case c.Clients == residents && c.Goroutines < residents+20+idle:
			return c, nil
		case time.Now().After(limit):
			return cost{}, fmt.Errorf("%d clients, want %d; %d goroutines", c.Clients, residents, c.Goroutines)
		}
	}
}
