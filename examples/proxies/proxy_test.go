package proxies_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A proxy is a proxy program with the configuration in its folder.
type proxy struct {
	name    string
	config  string // its file
	command func(dir string) []string

	// replace returns pairs of texts: a text that must occur in the configuration, and its
	// replacement for the test.
	replace func(s *site) []string

	// frame is the main configuration file; %s is replaced with the configuration.
	frame string
}

// The timeout of idle connections in the tests, and in the files.
const (
	silence        = "5s"
	silenceInFiles = "75s"
)

var proxies = []proxy{
	{
		name:    "nginx",
		config:  "nginx/pond.conf",
		command: func(dir string) []string { return []string{"nginx", "-p", dir, "-e", "stderr", "-c", dir + "/config"} },
		replace: func(s *site) []string {
			return []string{
				"listen 443 ", "listen " + s.addr + " ",
				"server 127.0.0.1:8000;", "server " + strings.Join(s.backends, "; server ") + ";",
				"/etc/ssl/example.com.pem", s.dir + "/cert.pem",
				"/etc/ssl/example.com.key", s.dir + "/key.pem",
				silenceInFiles, silence,
			}
		},
		frame: nginxFrame,
	},
	{
		name:    "haproxy",
		config:  "haproxy/haproxy.cfg",
		command: func(dir string) []string { return []string{"haproxy", "-db", "-f", dir + "/config"} },
		replace: func(s *site) []string {
			var servers []string
			for _, addr := range s.backends {
				servers = append(servers, "server "+addr+" "+addr)
			}
			return []string{
				"bind :443 ", "bind " + s.addr + " ",
				"server one 127.0.0.1:8000", strings.Join(servers, "\n"),
				"/etc/ssl/example.com.pem", s.dir + "/both.pem",
				silenceInFiles, silence,
			}
		},
		frame: "%s",
	},
	{
		name:   "caddy",
		config: "caddy/Caddyfile",
		command: func(dir string) []string {
			return []string{"caddy", "run", "--adapter", "caddyfile", "--config", dir + "/config"}
		},
		replace: func(s *site) []string {
			return []string{
				"example.com {", fmt.Sprintf("https://%s {\n\ttls %[2]s/cert.pem %[2]s/key.pem", s.addr, s.dir),
				"/api/* 127.0.0.1:8000", "/api/* " + strings.Join(s.backends, " "),
				silenceInFiles, silence,
				"keepalive 30s", "keepalive " + heartbeat.String(),
			}
		},
		frame: caddyFrame,
	},
}

// nginxFrame is an nginx.conf that runs nginx in the foreground, and keeps all files in one
// folder.
const nginxFrame = `daemon off;
master_process off;
pid nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
%s
}
`

// caddyFrame restricts Caddy to one TCP port of this machine.
const caddyFrame = `{
	admin off
	auto_https disable_redirects
	default_bind 127.0.0.1
	servers {
		protocols h1 h2
	}
}
%s
`

// render returns the configuration for a site.
func (p proxy) render(t *testing.T, s *site) string {
	t.Helper()
	file, err := os.ReadFile(p.config)
	if err != nil {
		t.Fatal(err)
	}
	text, pairs := string(file), p.replace(s)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%s does not contain %q", p.config, pairs[i])
		}
	}
	return fmt.Sprintf(p.frame, strings.NewReplacer(pairs...).Replace(text))
}
