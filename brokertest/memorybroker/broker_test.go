package memorybroker_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

// cluster returns the cluster of a bus for brokertest.
func cluster(bus *memorybroker.Bus) *brokertest.Cluster {
	var nodes atomic.Int64
	node := func(b pond.Broker) *memorybroker.Broker { return b.(*memorybroker.Broker) }
	return &brokertest.Cluster{
		Node: func() pond.Broker { return bus.Broker(fmt.Sprint("node", nodes.Add(1))) },
		Disconnect: map[string]func(pond.Broker){
			"reset": func(b pond.Broker) {
				node(b).Disconnect()
				node(b).Connect()
			},
		},
		Sever: func(b pond.Broker) (restore func()) {
			node(b).Disconnect()
			return node(b).Connect
		},
		Stall: func(pond.Broker) (resume func()) {
			bus.Pause()
			return bus.Resume
		},
		LoseLog:      func(topic string) { bus.LoseLogs(topic) },
		LoseResponse: func(b pond.Broker, topic string) { node(b).FailAppends(topic, 1) },
	}
}

func TestContract(t *testing.T) {
	slow := memorybroker.Faults{MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond}
	for _, test := range []struct {
		name   string
		bubble bool
		faults memorybroker.Faults
		opts   []memorybroker.Option
	}{
		{name: "fake time", bubble: true},
		{name: "real time"},
		{name: "sparse offsets", bubble: true, opts: []memorybroker.Option{memorybroker.WithSparseOffsets(), memorybroker.WithSeed(1)}},
		{name: "slow", bubble: true, faults: slow},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := brokertest.Harness{
				Bubble: test.bubble,
				Open: func(testing.TB) *brokertest.Cluster {
					bus := memorybroker.New(test.opts...)
					bus.SetFaults(test.faults)
					return cluster(bus)
				},
			}
			if !test.bubble {
				h.Skip = map[string]string{"VirtualTime": "this run is in real time"}
			}
			brokertest.Run(t, h)
		})
	}
}
