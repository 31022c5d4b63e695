package kubeedgeconfig

import (
	"net"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

const busPath = "modules.eventBus."

// mode is the MQTT mode in edgekit's words; external is KubeEdge's default.
func (c *converter) mode() string {
	switch c.text(busPath + "mqttMode") {
	case "0":
		return "internal"
	case "1":
		return "both"
	}
	return "external"
}

func mqttMode(c *converter, path string, n *yaml.Node) {
	switch c.text(path) {
	case "0", "1", "2":
		c.set(path, "mqtt-mode", c.mode())
	default:
		c.refuse(n, "%s: want 0, 1 or 2", path)
	}
}

func mqttInternal(c *converter, path string, _ *yaml.Node) {
	if c.mode() == "external" {
		c.note(path, NotNeeded, "the embedded broker is off")
		return
	}
	c.set(path, "mqtt-listen", []string{c.text(path)})
}

func mqttExternal(c *converter, path string, _ *yaml.Node) {
	if c.mode() == "internal" {
		c.note(path, NotNeeded, "no external broker is used")
		return
	}
	url := c.text(path)
	if c.is(busPath+"eventBusTLS.enable", false) {
		url = strings.Replace(url, "tcp://", "tls://", 1)
	}
	c.set(path, "mqtt-broker", url)
}

func mqttClient(c *converter, path string, _ *yaml.Node) {
	if _, have := c.result.Settings["mqtt-broker-client-id"]; have {
		c.note(path, Look, "edgecore has one connection to the broker, and one identifier")
		return
	}
	c.set(path, "mqtt-broker-client-id", c.text(path))
}

// mqttTLS converts the files of a connection with TLS to the external broker.
func mqttTLS(c *converter, path string, _ *yaml.Node) {
	setting := map[string]string{"tlsMqttCAFile": "mqtt-broker-ca", "tlsMqttCertFile": "mqtt-broker-cert", "tlsMqttPrivateKeyFile": "mqtt-broker-key"}[path[strings.LastIndex(path, ".")+1:]]
	switch {
	case !c.is(busPath+"eventBusTLS.enable", false):
		c.note(path, NotNeeded, "TLS is off")
	case setting == "":
		c.note(path, NotNeeded, "tls:// in the settings mqtt-broker and mqtt-listen")
	default:
		c.set(path, setting, c.text(path))
	}
}

// metaServer converts the node's own API.
func metaServer(c *converter, path string, _ *yaml.Node) {
	const meta = "modules.metaManager.metaServer."
	if path == meta+"enable" {
		if !c.is(path, false) {
			c.note(path, Look, "the node's own API is on for pods, and checks who they are; --no-local-api turns it off")
		} else {
			c.done[path] = true
		}
		return
	}
	addr, err := netip.ParseAddrPort(c.text(path))
	switch {
	case err != nil:
		c.refuse(c.fields[path], "%s: want IP:PORT", path)
	case addr.Addr().IsLoopback():
		c.note(path, Look, "pods do not reach loopback: the setting local-api-listen keeps its default, 169.254.30.10:10550")
	default:
		c.set(path, "local-api-listen", addr.String())
	}
}

// serviceBus converts the entry of rules on the node.
func serviceBus(c *converter, path string, _ *yaml.Node) {
	const rules = "modules.serviceBus."
	for _, field := range []string{"enable", "server", "port"} {
		if c.fields[rules+field] != nil {
			c.done[rules+field] = true
		}
	}
	if !c.is(rules+"enable", false) {
		c.note(path, NotNeeded, "it is open only while a rule needs it")
		return
	}
	server, port := c.text(rules+"server"), c.text(rules+"port")
	if server == "" {
		server = "127.0.0.1"
	}
	if port == "" {
		port = "9060"
	}
	if ip, err := netip.ParseAddr(server); err != nil || !ip.IsLoopback() {
		c.note(rules+"server", Lost, "callers without authentication must be on this machine: the address stays a loopback one")
		server = "127.0.0.1"
	}
	c.set(path, "rules-listen", net.JoinHostPort(server, port))
}
