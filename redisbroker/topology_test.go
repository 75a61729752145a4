package redisbroker_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest"
	"github.com/pondsocket/pond/internal/testserver"
	"github.com/redis/rueidis"

	"github.com/pondsocket/pond/redisbroker"
)

// startCluster starts three servers that share the slots, and more that have none.
func startCluster(t testing.TB, more int) []*server {
	t.Helper()
	const masters = 3
	var servers []*server
	for range masters + more {
		servers = append(servers, startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000",
			"--enable-debug-command", "yes", "--cluster-port", port(testserver.FreeAddr(t))))
	}
	for i, s := range servers {
		// Without epochs of their own, servers change them while the cluster forms, and what
		// a replica takes over may have a newer one than the replica knows.
		s.command("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		if i < masters {
			s.command("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(i*16384/masters), fmt.Sprint((i+1)*16384/masters-1))
		}
		if i > 0 {
			info := strings.Split(port0(servers[0]), "@")
			servers[i].command("CLUSTER", "MEET", "127.0.0.1", info[0], info[1])
		}
	}
	awaitCluster(t, servers, masters)
	return servers
}

// awaitCluster waits until all servers know the masters of all slots and are connected to
// each other. A server that learned of another one by gossip takes the cluster for
// complete before it has connected to it, and until then messages that are published at
// the one do not reach the other.
func awaitCluster(t testing.TB, servers []*server, masters int) {
	t.Helper()
	for _, s := range servers {
		eventually(t, "the cluster", func() bool {
			info, _ := new(s.command("CLUSTER", "INFO")).ToString()
			slots, _ := new(s.command("CLUSTER", "SLOTS")).ToArray()
			links, _ := new(s.command("CLUSTER", "LINKS")).ToArray()
			return strings.Contains(info, "cluster_state:ok") && len(slots) == masters && len(links) == 2*(len(servers)-1) &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", len(servers)))
		})
	}
}

// loseBus lets the servers of a cluster pass no published messages on to each other.
func loseBus(servers []*server) {
	for _, s := range servers {
		s.command("DEBUG", "DROP-CLUSTER-PACKET-FILTER", "4")
	}
}

// port0 returns the port and the cluster port of a server, as PORT@CPORT.
func port0(s *server) string {
	for i, arg := range s.args {
		if arg == "--cluster-port" {
			return port(s.Addr) + "@" + s.args[i+1]
		}
	}
	return ""
}

func clusterURL(servers []*server) string {
	return "redis://" + servers[0].Addr + "?addr=" + servers[1].Addr + "&addr=" + servers[2].Addr
}

// The broker keeps the contract although the servers of the cluster lose all messages that
// they should pass on to each other, which they do not report.
func TestContractCluster(t *testing.T) {
	servers := startCluster(t, 0)
	loseBus(servers)
	url := clusterURL(servers)
	var count atomic.Int64
	const why = "the servers of a cluster announce their own addresses, not those of proxies; see TestContract"
	brokertest.Run(t, brokertest.Harness{
		Skip: map[string]string{"VirtualTime": noVirtualTime["VirtualTime"], "Sever": why, "Stall": why, "LoseResponse": why},
		Open: func(t testing.TB) *brokertest.Cluster {
			names := map[pond.Broker]string{}
			return &brokertest.Cluster{
				Node: func() pond.Broker {
					name := fmt.Sprint("node", count.Add(1))
					b, err := redisbroker.New(url, quiet(), redisbroker.WithNamespace(t.Name()), redisbroker.WithProbeInterval(interval(t)),
						redisbroker.WithClientOption(func(o *rueidis.ClientOption) { o.ClientName = name }))
					if err != nil {
						t.Fatal(err)
					}
					names[b] = name
					eventually(t, "the connection", func() bool { return b.Health() == nil })
					return b
				},
				Disconnect: map[string]func(pond.Broker){"CLIENT KILL TYPE pubsub": func(b pond.Broker) {
					for _, s := range servers {
						s.killClients(names[b], "pubsub")
					}
				}},
				LoseLog: func(string) {
					for _, s := range servers {
						s.command("FLUSHALL")
					}
				},
			}
		},
	})
}

// Servers in other languages publish at any server of a cluster. The user of the broker has
// the rules of the package comment.
func TestClusterForeignPublishers(t *testing.T) {
	servers := startCluster(t, 0)
	for _, s := range servers {
		s.addUser(true)
	}
	b := openBroker(t, strings.Replace(clusterURL(servers), "//", "//pond:password@", 1))
	var receivers []*recorder
	for i := range 20 {
		receivers = append(receivers, subscribe(t, b, fmt.Sprint("t", i)))
	}
	for i := range receivers {
		if _, err := appendOne(t, b, fmt.Sprint("t", i), 1); err != nil {
			t.Error(err)
		}
		for n, s := range servers {
			s.command("PUBLISH", fmt.Sprint("pondsocket:v1:default:t", i), fmt.Sprintf(`{"n":%d}`, n))
		}
	}
	for _, r := range receivers {
		eventually(t, "the messages of all servers", func() bool { return len(r.texts()) == len(servers)+1 })
	}
}

// A topic whose slot is moved to another server is followed there.
func TestClusterSlotMoves(t *testing.T) {
	servers := startCluster(t, 0)
	loseBus(servers)
	b := openBroker(t, clusterURL(servers))
	moved, stays := subscribe(t, b, "moved"), subscribe(t, b, "stays")
	slot, _ := new(servers[0].command("CLUSTER", "KEYSLOT", "{pondsocket:v1:default:moved}")).AsInt64()
	owner := slices.IndexFunc([]int64{5461, 10922, 16384}, func(end int64) bool { return slot < end })
	for n := range 3 { // away, to the third one, and back
		target, _ := new(servers[(owner+n+1)%len(servers)].command("CLUSTER", "MYID")).ToString()
		for _, s := range servers {
			s.command("CLUSTER", "SETSLOT", fmt.Sprint(slot), "NODE", target)
		}
		eventually(t, "Gap", func() bool { return moved.countGaps() == n+1 })
		text := fmt.Sprintf(`{"n":%d}`, n)
		eventually(t, "a message of a broker that followed as well", func() bool {
			publish(t, b, "moved", text)
			return slices.Contains(moved.texts(), text)
		})
	}
	publish(t, b, "stays", `{}`)
	eventually(t, "the message", func() bool { return len(stays.texts()) == 1 })
	if n := stays.countGaps(); n != 0 {
		t.Errorf("%d gaps in a topic that was not moved", n)
	}
	if err := b.Health(); err != nil {
		t.Errorf("Health: %v", err)
	}
}

// A replica takes over the slots of a server that dies.
func TestClusterFailover(t *testing.T) {
	servers := startCluster(t, 1)
	loseBus(servers)
	replica := servers[3]
	id, _ := new(servers[0].command("CLUSTER", "MYID")).ToString()
	replica.command("CLUSTER", "REPLICATE", id)
	eventually(t, "the replica", func() bool {
		info, _ := new(replica.command("INFO", "replication")).ToString()
		return strings.Contains(info, "master_link_status:up")
	})
	b := openBroker(t, clusterURL(servers))
	receivers := map[string]*recorder{}
	for i := range 10 {
		topic := fmt.Sprint("t", i)
		receivers[topic] = subscribe(t, b, topic)
	}
	for topic := range receivers {
		publish(t, b, topic, `{"n":1}`)
	}
	eventually(t, "the first messages", func() bool {
		return !slices.ContainsFunc(slices.Collect(maps.Values(receivers)), func(r *recorder) bool { return len(r.texts()) == 0 })
	})
	servers[0].Kill()
	eventually(t, "Health of a broker that misses a server", func() bool { return b.Health() != nil })
	sent := make(chan string, len(receivers))
	for topic := range receivers { // those of the other servers are not held until this one works
		go func() {
			await(t, topic, publishLater(t, b, topic, `{"n":2}`))
			sent <- topic
		}()
	}
	<-sent
	replica.command("CLUSTER", "FAILOVER", "TAKEOVER")
	awaitTakeover(t, servers[1:], replica)
	eventually(t, "Health", func() bool { return b.Health() == nil })
	for range len(receivers) - 1 {
		<-sent
	}
	followed := 0
	for topic, r := range receivers {
		eventually(t, "a message", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_ = b.Publish(ctx, topic, [][]byte{[]byte(`{}`)})
			return slices.Contains(r.texts(), `{}`)
		})
		followed += r.countGaps()
	}
	if followed == 0 || followed == len(receivers) {
		t.Errorf("%d of %d topics have followed the replica", followed, len(receivers))
	}
}

// A server that is down, and to which nodes go on publishing, does not hold the messages of
// the other servers, and an outage of another server ends although this one stays down.
func TestClusterOutageOfOneServer(t *testing.T) {
	servers := startCluster(t, 0)
	down, up := topicOf(servers, 2), topicOf(servers, 1)
	open := func(name string, hold time.Duration) *redisbroker.Broker {
		b := openBroker(t, clusterURL(servers), redisbroker.WithClientOption(func(o *rueidis.ClientOption) { o.ClientName = name }))
		b.SetHoldTime(hold)
		return b
	}
	long, short := open("long", time.Hour), open("short", time.Millisecond)
	other := openBroker(t, clusterURL(servers))
	var interrupted *recorder
	for _, topic := range []string{down, up} {
		receivers := []*recorder{subscribe(t, long, topic), subscribe(t, short, topic), subscribe(t, other, topic)}
		interrupted = receivers[1]
		publish(t, long, topic, `{"n":1}`)
		publish(t, short, topic, `{"n":2}`)
		for _, r := range receivers {
			eventually(t, "the first messages", func() bool { return len(r.texts()) == 2 })
		}
	}
	closeBroker(t, other) // from now on, both topics have fewer subscribers than before
	servers[2].Kill()
	failures := func(b *redisbroker.Broker) *atomic.Int64 {
		var failed atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for ctx.Err() == nil {
				if b.Publish(ctx, down, [][]byte{[]byte(`{}`)}) != nil {
					failed.Add(1)
				}
				<-time.After(time.Millisecond)
			}
		}()
		t.Cleanup(func() { cancel(); <-ended })
		eventually(t, "failures", func() bool { return failed.Load() > 0 && b.Health() != nil })
		return &failed
	}
	failures(long)
	held := publishLater(t, long, down, `{}`)
	eventually(t, "a message that is held", func() bool { return long.Held() == 1 })
	await(t, "the message of another server", publishLater(t, long, up, `{"n":3}`))

	failed := failures(short)
	servers[1].killClients("short", "pubsub")
	eventually(t, "Gap", func() bool { return interrupted.countGaps() > 0 })
	before := failed.Load()
	await(t, "the message of a server that answers again", publishLater(t, short, up, `{"n":4}`))
	eventually(t, "more failures", func() bool { return failed.Load() > before })
	select {
	case err := <-held:
		t.Errorf("published to a server that is down: %v", err)
	default:
	}
}

// topicOf returns a topic whose slot belongs to one of three servers.
func topicOf(servers []*server, owner int) string {
	for i := 0; ; i++ {
		topic := fmt.Sprint("t", i)
		slot, _ := new(servers[0].command("CLUSTER", "KEYSLOT", "{pondsocket:v1:default:"+topic+"}")).AsInt64()
		if int(slot)*3/16384 == owner {
			return topic
		}
	}
}

// awaitTakeover waits until all servers take the replica for the master.
func awaitTakeover(t testing.TB, servers []*server, replica *server) {
	t.Helper()
	for _, s := range servers {
		eventually(t, "the takeover", func() bool {
			slots, _ := new(s.command("CLUSTER", "SLOTS")).ToArray()
			for _, r := range slots {
				fields, _ := r.ToArray()
				master, _ := fields[2].ToArray()
				if p, _ := master[1].AsInt64(); fmt.Sprint(p) == port(replica.Addr) {
					return true
				}
			}
			return false
		})
	}
}

// openBroker returns a broker that is connected, and is closed with the test.
func openBroker(t testing.TB, url string, opts ...redisbroker.Option) *redisbroker.Broker {
	t.Helper()
	b, err := redisbroker.New(url, append([]redisbroker.Option{quiet(), redisbroker.WithProbeInterval(probeInterval)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBroker(t, b) })
	eventually(t, "the connection", func() bool { return b.Health() == nil })
	return b
}

// Sentinels promote the replica when the server dies. The broker follows.
func TestSentinel(t *testing.T) {
	master := startServer(t)
	replica := startServer(t, "--replicaof", "127.0.0.1 "+port(master.Addr))
	var sentinels []*server
	for range 3 {
		sentinels = append(sentinels, startSentinel(t, master))
	}
	for _, s := range sentinels {
		eventually(t, "the sentinels", func() bool {
			info, _ := new(s.command("INFO", "sentinel")).ToString()
			return strings.Contains(info, "slaves=1,sentinels=3")
		})
	}
	eventually(t, "the replica", func() bool {
		info, _ := new(replica.command("INFO", "replication")).ToString()
		return strings.Contains(info, "master_link_status:up")
	})
	url := fmt.Sprintf("redis://%s?addr=%s&addr=%s&master_set=pond", sentinels[0].Addr, sentinels[1].Addr, sentinels[2].Addr)
	b, err := redisbroker.New(url, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer closeBroker(t, b)
	r := subscribe(t, b, "t")
	before, err := appendOne(t, b, "t", 1)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	master.Kill()
	eventually(t, "Gap", func() bool { return r.countGaps() > 0 })
	var after pond.Position
	eventually(t, "Append after the failover", func() (ok bool) {
		after, err = appendWithin(t, b, "t", 2, time.Second)
		return err == nil
	})
	t.Logf("works again after %v, with sentinels that wait for 1 s", time.Since(began).Round(100*time.Millisecond))
	if after.Epoch == before.Epoch {
		t.Errorf("the replica that took over continues epoch %q", after.Epoch)
	}
	eventually(t, "Health", func() bool { return b.Health() == nil })
	if role, _ := new(replica.command("INFO", "replication")).ToString(); !strings.Contains(role, "role:master") {
		t.Errorf("the replica was not promoted: %s", role)
	}
	publish(t, b, "t", `{"last":true}`)
	eventually(t, "the message", func() bool { return strings.Contains(strings.Join(r.texts(), ""), `{"last":true}`) })
}

// startSentinel starts a server that watches the master.
func startSentinel(t testing.TB, master *server) *server {
	t.Helper()
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor pond 127.0.0.1 %s 2\nsentinel down-after-milliseconds pond 1000\nsentinel failover-timeout pond 2000\n", port(master.Addr))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := prepare(t, []string{config, "--sentinel"})
	s.Start()
	return s
}

// TLS, with the certificate of an authority of the test.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	plain := testserver.FreeAddr(t)
	s := startServer(t, "--tls-port", port(plain), "--tls-cert-file", filepath.Join(dir, "cert"), "--tls-key-file", filepath.Join(dir, "key"),
		"--tls-auth-clients", "no")
	connect := func(roots *x509.CertPool) *redisbroker.Broker {
		b, err := redisbroker.New("rediss://"+plain, quiet(), redisbroker.WithClientOption(func(o *rueidis.ClientOption) {
			o.TLSConfig = &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
		}))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := connect(pool)
	defer closeBroker(t, b)
	r := subscribe(t, b, "t")
	publish(t, b, "t", `{"n":1}`)
	eventually(t, "the message", func() bool { return len(r.texts()) == 1 })
	if info, _ := new(s.command("CLIENT", "LIST", "TYPE", "pubsub")).ToString(); !strings.Contains(info, "sub=2") {
		t.Errorf("subscriptions: %s", info)
	}

	stranger := connect(x509.NewCertPool())
	defer closeBroker(t, stranger)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := stranger.Publish(ctx, "t", [][]byte{[]byte(`{}`)}); err == nil || stranger.Health() == nil {
		t.Errorf("an unsigned certificate is accepted: %v", err)
	}
}

// writeCertificate writes a certificate and its key, and returns a pool that trusts it.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}
