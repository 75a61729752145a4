package pond_test

import (
	"context"
	"encoding/json"
	"expvar"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

// A connection handler decides who may connect. A client that it does not accept
// is declined.
func ExamplePond_Endpoint() {
	// sessions is like a store of logged-in users.
	sessions := map[string]string{"s3cr3t": "ann"}

	// logIn accepts logged-in users and keeps the name for later handlers.
	logIn := func(ctx *pond.ConnectionContext) error {
		name, ok := sessions[ctx.Cookies()["session"]]
		if !ok {
			name, ok = sessions[ctx.Query().Get("session")] // for clients without cookies
		}
		if !ok {
			return ctx.Decline(http.StatusUnauthorized, "log in first")
		}
		ctx.Assign("name", name)
		return ctx.Accept()
	}

	p := pond.New()
	endpoint := p.Endpoint("/socket", logIn)

	v := serve(p, p)
	defer v.close()
	v.connect("Eve", "/socket?session=guess")
	v.connect("Ann", "/socket?session=s3cr3t")
	fmt.Println(endpoint.Len(), "client is connected")
	// Output:
	// Eve is declined: 401 log in first
	// 1 client is connected
}

// A Pond is an http.Handler and can be mounted at any path. The rest of the path
// selects the endpoint.
func ExamplePond_ServeHTTP() {
	p := pond.New()
	auth := func(ctx *pond.ConnectionContext) error {
		fmt.Printf("a client of %q\n", ctx.Param("tenant"))
		return ctx.Accept()
	}
	tenants, widget := p.Endpoint("/:tenant/socket", auth), p.Endpoint("/widget", auth)

	mux := http.NewServeMux()
	mux.Handle("/realtime/", http.StripPrefix("/realtime", p))
	mux.Handle("GET /embedded", widget) // an endpoint is an http.Handler, too
	mux.Handle("GET /tenant", tenants)  // a mistake: this path has no tenant

	v := serve(p, mux)
	defer v.close()
	v.connect("Ann", "/realtime/acme/socket")
	v.connect("Bob", "/realtime/elsewhere")
	v.connect("Cid", "/embedded")
	v.connect("Dan", "/tenant")
	// Output:
	// a client of "acme"
	// Bob is declined: 404 no endpoint at this path
	// a client of ""
	// Dan is declined: 404 no endpoint at this path
}

// Serve shuts down the server and the Pond in the right order when its context is
// done. A program uses signal.NotifyContext for the context, and ListenAndServe
// instead of a listener of its own.
func ExamplePond_Serve() {
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/chat/:room", admit)
	lobby.OnLeave(func(ctx *pond.LeaveContext) error {
		fmt.Println("one leaves:", ctx.Reason())
		return nil
	})

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- p.Serve(ctx, &http.Server{}, l) }()

	ann := dial("Ann", "http://"+l.Addr().String()+"/socket")
	ann.join("/chat/1")
	stop() // as SIGTERM does in a program
	ann.receive()
	fmt.Println("served:", <-ended)
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// one leaves: server_shutdown
	// Ann is disconnected
	// served: <nil>
}

// Clients are counted by address. If a connection comes from a trusted proxy, this
// is the address that the proxy reports.
func ExampleWithMaxConnsPerAddress() {
	p := pond.New()
	p.Endpoint("/socket", accept,
		pond.WithMaxConnsPerAddress(1),
		pond.WithTrustedProxies(netip.MustParsePrefix("10.0.0.0/8")),
	)

	v := serve(p, p)
	defer v.close()
	v.connect("Ann", "/socket")
	v.connect("Bob", "/socket") // from the same address
	// Output:
	// Bob is declined: 429 too many connections from this address
}

// Clients are counted by identity.
func ExampleWithMaxConnsPerIdentity() {
	p := pond.New()
	p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		person := ctx.Query().Get("person") // in a real program: of a session or token
		if err := ctx.Identify(person); err != nil {
			return err
		}
		return ctx.Accept()
	}, pond.WithMaxConnsPerIdentity(2))

	v := serve(p, p)
	defer v.close()
	for _, client := range []string{"Ann's tab", "Ann's phone", "Ann's script"} {
		v.connect(client, "/socket?person=ann")
	}
	v.connect("Bob", "/socket?person=bob")
	// Output:
	// Ann's script is declined: 429 too many connections with this identity
}

// Defaults apply to all endpoints of a Pond. Options of an endpoint override them.
func ExampleWithEndpointDefaults() {
	p := pond.New(pond.WithEndpointDefaults(
		pond.WithMaxMessageSize(16<<10),
		pond.WithPingInterval(20*time.Second),
	))
	chat := p.Endpoint("/socket", accept, pond.WithRateLimit(0.01, 2))
	chat.Lobby("/chat/:room", admit).OnMessage("say", func(ctx *pond.EventContext) error {
		return ctx.Reply("said", nil)
	})
	p.Endpoint("/admin", accept, pond.WithMaxConns(10), pond.WithMaxMessageSize(1<<20))

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/chat/1") // counts as a message
	for range 2 {
		ann.send("/chat/1", "say", nil)
		ann.receive()
	}
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM said {}
	// Ann gets ERROR HANDLER_NOT_FOUND {"code":429,"message":"too many messages","status":429,"statusCode":429,"error":{"message":"too many messages","status":429}}
}

// An Observer is notified of events. Nil fields are skipped.
func ExampleObserver() {
	// count returns an observer that counts. It does not use names of channels and
	// events as labels, because clients choose them.
	count := func(counts *expvar.Map) *pond.Observer {
		return &pond.Observer{
			Connected: func(e *pond.Endpoint, _ string, t pond.Transport) {
				counts.Add("connected "+e.Path()+" "+string(t), 1)
			},
			Joined: func(ch *pond.Channel, _ pond.User) { counts.Add("joined "+ch.Lobby().Pattern(), 1) },
			Sent: func(ch *pond.Channel, _ string, recipients int) {
				counts.Add("sent "+ch.Lobby().Pattern(), int64(recipients))
			},
			Limited: func(_ *pond.Endpoint, l pond.Limit) { counts.Add("limited "+string(l), 1) },
		}
	}

	counts := new(expvar.Map).Init() // expvar.NewMap publishes it at /debug/vars
	p := pond.New(pond.WithObserver(count(counts)))
	endpoint := p.Endpoint("/socket", accept, pond.WithMaxChannels(1))
	endpoint.Lobby("/chat/:room", admit)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/chat/1")
	ann.join("/chat/2")
	chat, _ := endpoint.Channel("/chat/1")
	_ = chat.Broadcast("news", nil)
	ann.receive()
	counts.Do(func(kv expvar.KeyValue) { fmt.Println(kv.Key, kv.Value) })
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM UNAUTHORIZED {"code":"CHANNEL_ERROR","message":"too many channels","status":429,"statusCode":429,"error":{"message":"too many channels","status":429}}
	// Ann gets BROADCAST news {}
	// connected /socket sse 1
	// joined /chat/:room 1
	// limited channels 1
	// sent /chat/:room 1
}

// Identify says which connections belong to one person. The person is reached,
// evicted or disconnected in all tabs at once.
func ExampleConnectionContext_Identify() {
	var banned sync.Map // by person
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		person := ctx.Query().Get("person") // in a real program: of a session or token
		if err := ctx.Identify(person); err != nil {
			return err
		}
		if _, ok := banned.Load(person); ok { // after Identify, so that DisconnectIdentity finds this connection
			return ctx.Decline(http.StatusForbidden, "banned")
		}
		return ctx.Accept()
	})
	endpoint.Lobby("/chat/:room", admit)

	v := serve(p, p)
	defer v.close()
	tab, phone := v.connect("Ann's tab", "/socket?person=ann"), v.connect("Ann's phone", "/socket?person=ann")
	bob := v.connect("Bob", "/socket?person=bob")
	for _, client := range []*guest{tab, phone, bob} {
		client.join("/chat/1")
	}
	chat, _ := endpoint.Channel("/chat/1")
	if err := chat.ToIdentity("ann").Broadcast("reminder", nil); err != nil {
		fmt.Println(err)
	}
	tab.receive()
	phone.receive()

	banned.Store("ann", true)
	if err := endpoint.DisconnectIdentity("ann", http.StatusForbidden, "banned"); err != nil {
		fmt.Println(err)
	}
	tab.receive()
	phone.receive()
	v.connect("Ann", "/socket?person=ann")
	// Output:
	// Ann's tab gets SYSTEM ACKNOWLEDGE {}
	// Ann's phone gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann's tab gets BROADCAST reminder {}
	// Ann's phone gets BROADCAST reminder {}
	// Ann's tab is disconnected
	// Ann's phone is disconnected
	// Ann is declined: 403 banned
}

// Two servers that are connected by a broker have the same channels. This broker is in
// memory; redisbroker and natsbroker connect servers on several machines.
func ExampleWithBroker() {
	bus := memorybroker.New()
	newServer := func(name string) *pond.Pond {
		p := pond.New(pond.WithBroker(bus.Broker(name)))
		endpoint := p.Endpoint("/socket", accept)
		chat := endpoint.Lobby("/chat/:room", admit)
		chat.OnMessage("say", func(ctx *pond.EventContext) error {
			return ctx.Broadcast("said", ctx.Payload())
		})
		return p
	}
	first, second := newServer("first"), newServer("second")

	v, w := serve(first, first), serve(second, second)
	defer v.close()
	defer w.close()
	ann, bob := v.connect("Ann", "/socket"), w.connect("Bob", "/socket")
	ann.join("/chat/1")
	bob.join("/chat/1")
	ann.send("/chat/1", "say", map[string]string{"text": "hi"})
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Bob gets BROADCAST said {"text":"hi"}
}

// A readiness check fails while the server has no connection to the broker, so that the load
// balancer sends new clients to other servers.
func ExamplePond_Degraded() {
	bus := memorybroker.New()
	broker := bus.Broker("first")
	broker.Disconnect()
	p := pond.New(pond.WithBroker(broker))
	p.Endpoint("/socket", accept)

	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := p.Degraded(); err != nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})

	v := serve(p, mux)
	defer v.close()
	resp, err := http.Get(v.http.URL + "/ready")
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 503 Service Unavailable
}

// All who watch a film receive how many they are, whenever the number changed.
func ExampleChannel_Len() {
	const interval = 10 * time.Millisecond // in a real program: a second

	// count sends the number of members until it is stopped.
	count := func(ctx context.Context, ch *pond.Channel) {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		sent := 0
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			if n := ch.Len(); n != sent && ch.Broadcast("watching", map[string]int{"count": n}) == nil {
				sent = n
			}
		}
	}

	p := pond.New()
	films := p.Endpoint("/socket", accept).Lobby("/films/:id", admit)
	films.OnFirstJoin(func(ctx *pond.JoinContext) error {
		counting, stop := context.WithCancel(context.Background())
		ctx.Channel().SetState(stop)
		go count(counting, ctx.Channel())
		return nil
	})
	films.OnLastLeave(func(ctx *pond.LeaveContext) error {
		ctx.Channel().State().(context.CancelFunc)()
		return nil
	})

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/films/1")
	ann.receive()
	ann.leave("/films/1")
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST watching {"count":1}
}

// A chat has no other state than its history. A client that missed messages, and cannot
// recover them, loads the latest ones.
func ExampleEndpoint_History() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", accept)
	chat := endpoint.Lobby("/chat/:room", admit, pond.WithHistory(pond.History{}))
	chat.OnMessage("load", func(ctx *pond.EventContext) error {
		entries := []pond.HistoryEntry{}
		for entry, err := range endpoint.History(ctx, ctx.Channel().Name(), pond.Last(50)) {
			if err != nil {
				return err
			}
			entries = append(entries, entry)
		}
		return ctx.Reply("loaded", map[string]any{"entries": entries})
	})

	v := serve(p, p)
	defer v.close()
	_ = endpoint.Publish(context.Background(), "/chat/1", "said", map[string]string{"text": "hi"})
	ann := v.connect("Ann", "/socket")
	ann.join("/chat/1")
	ann.send("/chat/1", "load", nil)
	answer, _ := ann.next()
	var loaded struct {
		Entries []pond.HistoryEntry `json:"entries"`
	}
	if err := json.Unmarshal(answer.Payload, &loaded); err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range loaded.Entries {
		fmt.Println(e.Position.Offset, e.Event, string(e.Payload))
	}
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// 1 said {"text":"hi"}
}
