package kubeedgeconfig

import (
	"net"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Paths of cloudcore.yaml.
const (
	hubPath    = "modules.cloudHub."
	routerPath = "modules.router."
)

// cloudTable decides about the fields of cloudcore.yaml.
func cloudTable() *table {
	const (
		own   = "edgekit's authority is in the secret edgekit-ca; nodes join anew. To go on with your own, give the settings ca-cert and ca-key"
		sizes = "queues and workers have no settings: they follow the load"
	)
	return &table{fields: map[string]rule{
		"featureGates.":                          {importance: Look, reason: "there are no feature gates; the nodes' own API always authorises"},
		"kubeAPIConfig.kubeConfig":               {setting: "kubeconfig"},
		"kubeAPIConfig.master":                   {importance: Look, reason: "the kubeconfig has the API server's address"},
		"kubeAPIConfig.":                         {reason: "the API server limits its clients by itself"},
		"commonConfig.tunnelPort":                {reason: streams},
		"commonConfig.monitorServer.bindAddress": {setting: "metrics-listen"},
		"commonConfig.monitorServer.":            {reason: "there is no profiling port"},
		"commonConfig.":                          {reason: streams},

		hubPath + "enable":            {convert: mustBe(true, Lost, alwaysOn)},
		hubPath + "keepaliveInterval": {convert: seconds("keepalive")},
		hubPath + "nodeLimit":         {setting: "max-nodes"},
		hubPath + "writeTimeout":      {reason: timeouts},
		hubPath + "advertiseAddress":  {convert: advertise}, hubPath + "dnsNames": {convert: advertise},
		hubPath + "websocket.address": {convert: listen}, hubPath + "websocket.port": {convert: listen}, hubPath + "websocket.enable": {convert: mustBe(true, Look, alwaysOn)},
		hubPath + "quic.enable": {convert: func(c *converter, path string, _ *yaml.Node) {
			if c.is(path, false) {
				c.set(path, "quic", "true")
				return
			}
			c.note(path, Look, "QUIC is on, on the UDP port of the setting listen; quic: false turns it off")
		}},
		hubPath + "quic.":       {importance: Look, reason: "QUIC has the UDP port of the setting listen"},
		hubPath + "https.":      {importance: Look, reason: "nodes join at the setting listen: one port for everything"},
		hubPath + "unixsocket.": {reason: "there is none"},
		hubPath + "tlsCAFile":   {importance: Look, reason: own}, hubPath + "tlsCAKeyFile": {importance: Look, reason: own},
		hubPath + "tlsCertFile": {reason: "cloudcore issues its own certificate"}, hubPath + "tlsPrivateKeyFile": {reason: "cloudcore issues its own certificate"},
		hubPath + "edgeCertSigningDuration": {convert: certificateLife},
		hubPath + "tokenRefreshDuration":    {reason: "each token is made for its node, and is good once: edgectl token create"},
		hubPath + "authorization.":          {reason: alwaysOn},

		routerPath + "enable": {convert: router}, routerPath + "address": {convert: router}, routerPath + "port": {convert: router},
		routerPath + "restTimeout": {convert: seconds("rules-timeout")},

		"modules.cloudStream.":       {reason: streams},
		"modules.iptablesManager.":   {reason: "there are no iptables rules: the node's kubelet endpoint is cloudcore"},
		"modules.dynamicController.": {reason: alwaysOn}, "modules.syncController.": {reason: alwaysOn},
		"modules.taskManager.": {reason: alwaysOn}, "modules.upgradeController.": {reason: alwaysOn}, "modules.nodeUpgradeJobController.": {reason: alwaysOn}, "modules.imagePrePullController.": {reason: alwaysOn},
		"modules.edgeController.": {reason: sizes}, "modules.deviceController.": {reason: sizes},
	}}
}

// seconds converts a number of seconds.
func seconds(setting string) func(*converter, string, *yaml.Node) {
	return func(c *converter, path string, n *yaml.Node) {
		count, err := strconv.ParseUint(c.text(path), 10, 31)
		if err != nil {
			c.refuse(n, "%s: want a number of seconds", path)
			return
		}
		c.set(path, setting, strconv.FormatUint(count, 10)+"s")
	}
}

// certificateLife converts a number of days.
func certificateLife(c *converter, path string, n *yaml.Node) {
	days, err := strconv.ParseUint(c.text(path), 10, 16)
	if err != nil || days == 0 {
		c.refuse(n, "%s: want a number of days", path)
		return
	}
	c.set(path, "certificate-life", strconv.FormatUint(days*24, 10)+"h")
}

// advertise converts the names and addresses in the server's certificate.
func advertise(c *converter, path string, _ *yaml.Node) {
	port := c.text(hubPath + "websocket.port")
	if port == "" {
		port = "10000"
	}
	var out []string
	for _, field := range []string{hubPath + "advertiseAddress", hubPath + "dnsNames"} {
		for _, host := range c.list(field) {
			out = append(out, net.JoinHostPort(host, port))
		}
		if c.fields[field] != nil {
			c.done[field] = true
		}
	}
	c.set(path, "advertise", out)
}

// listen converts where nodes connect.
func listen(c *converter, path string, _ *yaml.Node) {
	host, port := c.text(hubPath+"websocket.address"), c.text(hubPath+"websocket.port")
	for _, field := range []string{"websocket.address", "websocket.port"} {
		if c.fields[hubPath+field] != nil {
			c.done[hubPath+field] = true
		}
	}
	if host == "0.0.0.0" {
		host = ""
	}
	if port == "" {
		port = "10000"
	}
	c.set(path, "listen", net.JoinHostPort(host, port))
}

// router converts the entry of rules in the cloud.
func router(c *converter, path string, _ *yaml.Node) {
	for _, field := range []string{"enable", "address", "port"} {
		if c.fields[routerPath+field] != nil {
			c.done[routerPath+field] = true
		}
	}
	if !c.is(routerPath+"enable", false) {
		c.note(path, NotNeeded, "callers are served if the setting rules-listen is there")
		return
	}
	host, port := c.text(routerPath+"address"), c.text(routerPath+"port")
	if host == "0.0.0.0" {
		host = ""
	}
	if port == "" {
		port = "9443"
	}
	c.set(path, "rules-listen", net.JoinHostPort(host, port))
	c.note(routerPath+"port", Look, "callers use https:// and a token of Kubernetes, where KubeEdge has neither; rules-plain-http serves old ones")
}
