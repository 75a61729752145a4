// Command centrifuge follows the tutorial in centrifuge's README: the memory engine, all
// clients may subscribe and publish. It also has an RPC for echoes, and handlers for event
// streams. As a node of a cluster, it has the Redis engine instead. Channels whose names begin with /log/ have a history. All settings are defaults.
package main

import (
	"compress/flate"
	"flag"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/pondsocket/pond/bench/internal/serve"
)

// auth is the middleware of the tutorial: all users are anonymous.
func auth(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := centrifuge.SetCredentials(r.Context(), &centrifuge.Credentials{UserID: ""})
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

func onConnect(client *centrifuge.Client) {
	client.OnSubscribe(func(e centrifuge.SubscribeEvent, cb centrifuge.SubscribeCallback) {
		track := len(e.Data) > 0 // the presence of the client
		cb(centrifuge.SubscribeReply{Options: centrifuge.SubscribeOptions{
			ChannelInfo:   e.Data,
			EmitPresence:  track,
			EmitJoinLeave: track,
			PushJoinLeave: track,

			EnableRecovery: e.Recoverable,
		}}, nil)
	})
	client.OnPresence(func(_ centrifuge.PresenceEvent, cb centrifuge.PresenceCallback) {
		cb(centrifuge.PresenceReply{}, nil)
	})
	client.OnPublish(func(e centrifuge.PublishEvent, cb centrifuge.PublishCallback) {
		var options centrifuge.PublishOptions
		if strings.HasPrefix(e.Channel, "/log/") { // with the size and age of a history in pond
			options.HistorySize, options.HistoryTTL = 1000, time.Hour
		}
		cb(centrifuge.PublishReply{Options: options}, nil)
	})
	client.OnRPC(func(e centrifuge.RPCEvent, cb centrifuge.RPCCallback) {
		cb(centrifuge.RPCReply{Data: e.Data}, nil)
	})
}

// useRedis sets the Redis engine, with its defaults.
func useRedis(node *centrifuge.Node, addr string) error {
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: addr})
	if err != nil {
		return err
	}
	shards := []*centrifuge.RedisShard{shard}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Shards: shards})
	if err != nil {
		return err
	}
	presence, err := centrifuge.NewRedisPresenceManager(node, centrifuge.RedisPresenceManagerConfig{Shards: shards})
	if err != nil {
		return err
	}
	node.SetBroker(broker)
	node.SetPresenceManager(presence)
	return nil
}

func main() {
	flag.Parse()
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	if *serve.Redis != "" {
		if err := useRedis(node, *serve.Redis); err != nil {
			log.Fatal(err)
		}
	}
	node.OnConnect(onConnect)
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}

	config := centrifuge.WebsocketConfig{Compression: *serve.Compress}
	if *serve.Compress {
		config.CompressionLevel = flate.BestSpeed // the default 0 does not compress
		// Experimental according to its documentation. Without it, each client's copy is
		// compressed again.
		config.CompressionPreparedMessageCacheSize = 10 << 20
	}
	mux := http.NewServeMux()
	mux.Handle("/connection/websocket", auth(centrifuge.NewWebsocketHandler(node, config)))
	mux.Handle("/connection/sse", auth(centrifuge.NewSSEHandler(node, centrifuge.SSEConfig{})))
	mux.Handle("/emulation", centrifuge.NewEmulationHandler(node, centrifuge.EmulationConfig{}))
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	if err := serve.HTTP(mux); err != nil {
		log.Fatal(err)
	}
}
