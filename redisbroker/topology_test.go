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
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest"
	"github.com/redis/rueidis"

	"github.com/pondsocket/pond/redisbroker"
)

// startCluster starts three servers that share the slots.
func startCluster(t testing.TB) []*server {
	t.Helper()
	var servers []*server
	for range 3 {
		servers = append(servers, startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "5000", "--cluster-port", port(freeAddr(t))))
	}
	for i, s := range servers {
		first, last := i*16384/3, (i+1)*16384/3-1
		s.command("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(first), fmt.Sprint(last))
		if i > 0 {
			info := strings.Split(port0(servers[0]), "@")
			servers[i].command("CLUSTER", "MEET", "127.0.0.1", info[0], info[1])
		}
	}
	for _, s := range servers {
		eventually(t, "the cluster", func() bool {
			info, _ := new(s.command("CLUSTER", "INFO")).ToString()
			slots, _ := new(s.command("CLUSTER", "SLOTS")).ToArray()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3") && len(slots) == 3
		})
	}
	return servers
}

// port0 returns the port and the cluster port of a server, as PORT@CPORT.
func port0(s *server) string {
	for i, arg := range s.args {
		if arg == "--cluster-port" {
			return port(s.addr) + "@" + s.args[i+1]
		}
	}
	return ""
}

func TestContractCluster(t *testing.T) {
	servers := startCluster(t)
	url := "redis://" + servers[0].addr + "?addr=" + servers[1].addr + "&addr=" + servers[2].addr
	var count atomic.Int64
	const why = "the servers of a cluster announce their own addresses, not those of proxies; see TestContract"
	brokertest.Run(t, brokertest.Harness{
		Skip: map[string]string{"VirtualTime": noVirtualTime["VirtualTime"], "Sever": why, "Stall": why, "LoseResponse": why},
		Open: func(t testing.TB) *brokertest.Cluster {
			names := map[pond.Broker]string{}
			return &brokertest.Cluster{
				Node: func() pond.Broker {
					name := fmt.Sprint("node", count.Add(1))
					b, err := redisbroker.New(url, quiet(), redisbroker.WithNamespace(t.Name()), redisbroker.WithProbeInterval(probeInterval),
						redisbroker.WithClientOption(func(o *rueidis.ClientOption) { o.ClientName = name }))
					if err != nil {
						t.Fatal(err)
					}
					names[b] = name
					eventually(t, "the connection", func() bool { return b.Health() == nil })
					return b
				},
				Disconnect: map[string]func(pond.Broker){"CLIENT KILL TYPE pubsub": func(b pond.Broker) {
					eventually(t, "a connection", func() bool {
						killed := 0
						for _, s := range servers {
							killed += s.killSome(names[b], "pubsub")
						}
						return killed > 0
					})
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

// Sentinels promote the replica when the server dies. The broker follows.
func TestSentinel(t *testing.T) {
	master := startServer(t)
	replica := startServer(t, "--replicaof", "127.0.0.1 "+port(master.addr))
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
	url := fmt.Sprintf("redis://%s?addr=%s&addr=%s&master_set=pond", sentinels[0].addr, sentinels[1].addr, sentinels[2].addr)
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
	master.kill()
	eventually(t, "Gap", func() bool { return r.countGaps() > 0 })
	var after pond.Position
	eventually(t, "Append after the failover", func() (ok bool) {
		after, err = appendOne(t, b, "t", 2)
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
	text := fmt.Sprintf("sentinel monitor pond 127.0.0.1 %s 2\nsentinel down-after-milliseconds pond 1000\nsentinel failover-timeout pond 5000\n", port(master.addr))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, addr: freeAddr(t), dir: t.TempDir(), sentinel: config}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// TLS, with the certificate of an authority of the test.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	plain := freeAddr(t)
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
		t.Errorf("a certificate that nobody signed is accepted: %v", err)
	}
}

// writeCertificate writes a certificate and its key, and returns who trusts it.
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
