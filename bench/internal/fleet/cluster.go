//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pondsocket/pond/bench/internal/backend"
	"github.com/pondsocket/pond/bench/internal/process"
)

// A Cluster is some nodes of one server, and the Redis server that connects them.
type Cluster struct {
	Nodes []*process.Process
	Redis *backend.Redis // nil if there is one node, which needs none
}

// StartCluster runs nodes of s, and waits until they are connected. With one node, the
// server runs alone, as in the other scenarios.
func (f *Fleet) StartCluster(ctx context.Context, s Server, nodes int) (c *Cluster, err error) {
	c = &Cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	var flags []string
	if nodes > 1 {
		if c.Redis, err = backend.Start(ctx); err != nil {
			return c, err
		}
		flags = []string{"redis=" + c.Redis.Addr}
	}
	for range nodes {
		p, err := f.Start(ctx, s, flags...)
		if err != nil {
			return c, err
		}
		c.Nodes = append(c.Nodes, p)
		if err := ready(ctx, p.Addr); err != nil {
			return c, err
		}
	}
	return c, nil
}

// ready waits until a node is connected to the cluster.
func ready(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/ready", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the node is not ready: %s", resp.Status)
		}
	}
}

// PIDs returns the processes of the nodes, and then that of Redis.
func (c *Cluster) PIDs() (pids []int) {
	for _, p := range c.Nodes {
		pids = append(pids, p.PID())
	}
	if c.Redis != nil {
		pids = append(pids, c.Redis.PID())
	}
	return pids
}

// Stop ends all processes. It returns an error if a node failed.
func (c *Cluster) Stop() (err error) {
	for _, p := range c.Nodes {
		err = errors.Join(err, p.Stop())
	}
	if c.Redis != nil {
		err = errors.Join(err, c.Redis.Stop())
	}
	return err
}
