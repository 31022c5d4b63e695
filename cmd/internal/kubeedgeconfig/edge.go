package kubeedgeconfig

import (
	"net"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/edgekit/edgekit/cmd/internal/kubeletconfig"
)

// Reasons that several fields share.
const (
	joined    = "the node's certificate comes from 'edgectl join' and is renewed by itself"
	streams   = "kubectl logs and exec use the node's one connection"
	timeouts  = "the link has its own time limits"
	cni       = "the container runtime's configuration has the network plugins"
	runtimes  = "the container runtime decides this"
	alwaysOn  = "always on; nothing to switch"
	oldImages = "containers and images are removed by the settings image-gc-*"
	windows   = "edgecore runs on Linux"
)

// convertedBy lists the settings that functions set.
func convertedBy(program string) []string {
	if program == "cloudcore" {
		return []string{"advertise", "listen", "keepalive", "certificate-life", "rules-listen", "rules-timeout", "quic"}
	}
	names := []string{"cloud", "transport", "node-labels", "node-annotations", "register-with-taints", "mqtt-mode", "mqtt-broker", "mqtt-listen", "mqtt-broker-ca", "mqtt-broker-cert", "mqtt-broker-key", "mqtt-broker-client-id", "mqtt-broker-password-file", "local-api", "local-api-listen", "rules", "rules-listen", "dmi-listen", "seccomp-default", "node-ip"}
	for _, f := range kubeletconfig.Fields() {
		if f.Use == kubeletconfig.Used && f.Flag != "" {
			names = append(names, f.Flag)
		}
	}
	return names
}

// edgeTable decides about the fields of edgecore.yaml.
func edgeTable() *table {
	const (
		hub   = "modules.edgeHub."
		edged = "modules.edged."
		bus   = "modules.eventBus."
		meta  = "modules.metaManager."
		rules = "modules.serviceBus."
	)
	t := &table{fields: map[string]rule{
		"database.":     {importance: Look, reason: "edgekit has its own store in the setting data-dir; the node gets its objects from the cloud anew"},
		"featureGates.": {importance: Look, reason: "there are no feature gates; the node's own API always authorises"},

		hub + "enable":           {convert: mustBe(true, Lost, "a node without a link cannot join: leave edgecore off")},
		hub + "websocket.server": {convert: link}, hub + "quic.server": {convert: link},
		hub + "websocket.enable": {convert: link}, hub + "quic.enable": {convert: link},
		hub + "websocket.": {reason: timeouts}, hub + "quic.": {reason: timeouts},
		hub + "heartbeat":  {reason: "keepalives are agreed with cloudcore (its setting keepalive)"},
		hub + "messageQPS": {reason: timeouts}, hub + "messageBurst": {reason: timeouts},
		hub + "projectID": {reason: "there is none"},
		hub + "httpServer": {convert: func(c *converter, path string, _ *yaml.Node) {
			c.note(path, Look, "cloudcore has one port for everything: give that address to 'edgectl join'")
		}},
		hub + "token": {convert: func(c *converter, path string, _ *yaml.Node) {
			c.secret(path, "", "a secret; it is of no use here: 'edgectl token create' in the cloud makes a token, which is never kept")
		}},
		hub + "tlsCaFile": {reason: joined}, hub + "tlsCertFile": {reason: joined}, hub + "tlsPrivateKeyFile": {reason: joined},
		hub + "rotateCertificates": {convert: mustBe(true, Look, "certificates are always renewed")},

		bus + "enable":               {convert: mustBe(true, Look, "the bus is always on; --mqtt-listen tcp://127.0.0.1:1884 keeps it on this machine")},
		bus + "mqttMode":             {convert: mqttMode},
		bus + "mqttServerInternal":   {convert: mqttInternal},
		bus + "mqttServerExternal":   {convert: mqttExternal},
		bus + "mqttQOS":              {reason: "messages are sent with QoS 1"},
		bus + "mqttRetain":           {reason: "the topics say what is retained"},
		bus + "mqttSessionQueueSize": {reason: "sessions are bounded by the settings mqtt-max-*"},
		bus + "mqttSubClientID":      {convert: mqttClient}, bus + "mqttPubClientID": {convert: mqttClient},
		bus + "mqttUsername": {setting: "mqtt-broker-username"},
		bus + "mqttPassword": {convert: func(c *converter, path string, _ *yaml.Node) {
			c.secret(path, "mqtt-broker-password-file", "a secret; it goes into a file that the setting mqtt-broker-password-file names")
		}},
		bus + "eventBusTLS.": {convert: mqttTLS},

		meta + "enable":             {convert: mustBe(true, Look, alwaysOn)},
		meta + "contextSendGroup":   {reason: "edgekit has no such modules"},
		meta + "contextSendModule":  {reason: "edgekit has no such modules"},
		meta + "remoteQueryTimeout": {reason: timeouts},
		meta + "metaServer.enable":  {convert: metaServer}, meta + "metaServer.server": {convert: metaServer},
		meta + "metaServer.": {importance: Look, reason: "the node's own API has a certificate of edgekit's authority; pods prove who they are with the tokens of their ServiceAccounts"},

		rules + "enable": {convert: serviceBus}, rules + "server": {convert: serviceBus}, rules + "port": {convert: serviceBus},
		rules + "timeout": {reason: "cloudcore's setting rules-timeout"},
		rules:             {reason: "callers are on this machine: the address is a loopback one, without TLS"},

		"modules.deviceTwin.dmiSockPath": {convert: func(c *converter, path string, _ *yaml.Node) {
			c.set(path, "dmi-listen", "unix://"+strings.TrimPrefix(c.text(path), "unix://"))
		}},
		"modules.deviceTwin.":  {convert: mustBe(true, Look, alwaysOn)},
		"modules.edgeStream.":  {reason: streams},
		"modules.taskManager.": {reason: alwaysOn},
		"modules.dbTest.":      {reason: "there is none"},
	}}
	addEdged(t, edged)
	return t
}

// addEdged adds the fields of edged but those of the kubelet.
func addEdged(t *table, edged string) {
	for field, r := range map[string]rule{
		"enable":                {convert: mustBe(true, Lost, "edgecore always runs pods; use the packages without edged for a gateway")},
		"tailoredKubeletConfig": {convert: kubelet},
		"hostnameOverride": {convert: func(c *converter, path string, _ *yaml.Node) {
			c.result.Node = c.text(path)
			c.note(path, Look, "the node's name is given when it joins: edgectl join --edgenode-name")
		}},
		"nodeIP":              {setting: "node-ip"},
		"customInterfaceName": {importance: Lost, reason: "give the address of the interface as the setting node-ip"},
		"nodeLabels":          {convert: pairs("node-labels")}, "nodeAnnotations": {convert: pairs("node-annotations")},
		"registerWithTaints":                {convert: taints},
		"registerNode":                      {convert: mustBe(true, Look, "a node that has joined registers itself")},
		"registerSchedulable":               {convert: mustBe(true, Look, "use the setting register-with-taints")},
		"registerNodeNamespace":             {reason: "a node has no namespace"},
		"podSandboxImage":                   {importance: Look, reason: runtimes + ": set its sandbox image there, for a registry of your own"},
		"containerRuntime":                  {reason: "every runtime with CRI"},
		"remoteRuntimeEndpoint":             {setting: "runtime-endpoint"},
		"remoteImageEndpoint":               {reason: "images are at the container runtime's endpoint"},
		"imageCredentialProviderConfigFile": {setting: "image-credential-provider-config"},
		"imageCredentialProviderBinDir":     {setting: "image-credential-provider-bin-dir"},
		"seccompDefault":                    {setting: "seccomp-default"},
		"seccompProfileRoot":                {importance: Look, reason: "profiles are in the folder that the container runtime looks into"},
		"runtimeCgroups":                    {reason: "the unit of the container runtime sets it"},
		"rootDirectory":                     {importance: Look, reason: "pods' folders are in the setting data-dir"},
		"kubeConfig":                        {reason: "the node asks the API server nothing: cloudcore does"},
		"kubeletConfigFile":                 {setting: "kubelet-config"},
		"certDirectory":                     {reason: joined},
		"dockerEndpoint":                    {importance: Lost, reason: "dockershim is gone from Kubernetes: use containerd or CRI-O"},
		"dockershimRootDirectory":           {importance: Lost, reason: "dockershim is gone from Kubernetes: use containerd or CRI-O"},
		"imagePullProgressDeadline":         {reason: "the container runtime has such a limit"},
		"networkPluginName":                 {reason: cni}, "networkPluginMTU": {reason: cni}, "cniConfDir": {reason: cni}, "cniBinDir": {reason: cni}, "cniCacheDir": {reason: cni},
		"minimumGCAge": {reason: oldImages}, "maxPerPodContainerCount": {reason: oldImages}, "maxContainerCount": {reason: oldImages},
		"windowsService": {reason: windows}, "windowsPriorityClass": {reason: windows},
		"lockFilePath": {reason: "edgecore locks its data folder"}, "exitOnLockContention": {reason: "edgecore locks its data folder"},
		"nonMasqueradeCidr": {reason: cni}, "masterServiceNamespace": {reason: "pods find the API as Kubernetes says"},
		"keepTerminatedPodVolumes":                           {convert: mustBe(false, Lost, "volumes of terminated pods are removed")},
		"experimentalMounterPath":                            {importance: Lost, reason: "mount(8) is used where the kernel cannot mount by itself"},
		"experimentalCheckNodeCapabilitiesBeforeMount":       {convert: mustBe(false, Look, "a mount that fails says why")},
		"experimentalNodeAllocatableIgnoreEvictionThreshold": {convert: mustBe(false, Lost, "what is allocatable is always without the eviction thresholds")},
	} {
		t.fields[edged+field] = r
		t.fields[edged+"tailoredKubeletFlag."+field] = r // as older versions wrote it
	}
}

// mustBe is the rule of a switch that edgekit does not have.
func mustBe(want bool, otherwise Importance, reason string) func(*converter, string, *yaml.Node) {
	return func(c *converter, path string, _ *yaml.Node) {
		importance := NotNeeded
		if c.is(path, want) != want {
			importance = otherwise
		}
		c.note(path, importance, reason)
	}
}

// link converts the two forms of the link.
func link(c *converter, path string, _ *yaml.Node) {
	const hub = "modules.edgeHub."
	transport, server := "websocket", hub+"websocket.server"
	if c.is(hub+"quic.enable", false) {
		transport, server = "quic", hub+"quic.server"
	}
	for _, field := range []string{hub + "websocket.enable", hub + "quic.enable", hub + "websocket.server", hub + "quic.server"} {
		if c.fields[field] != nil {
			c.done[field] = true
		}
	}
	address := c.text(server)
	if address == "" {
		return
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		c.refuse(c.fields[server], "%s: want HOST:PORT", server)
		return
	}
	if transport == "quic" && port == "10001" {
		c.note(server, Look, "cloudcore has TCP and UDP on one port, 10000 by default, where KubeEdge has 10001 for QUIC: the port was changed")
		port = "10000"
	}
	c.set(path, "cloud", net.JoinHostPort(host, port))
	c.result.Settings["transport"] = transport
}

// pairs converts a map of texts.
func pairs(setting string) func(*converter, string, *yaml.Node) {
	return func(c *converter, path string, n *yaml.Node) {
		out := make(map[string]string)
		if n.Kind != yaml.MappingNode || n.Decode(&out) != nil {
			c.refuse(n, "%s: want names with texts", path)
			return
		}
		c.set(path, setting, out)
	}
}

// taints converts taints; older versions of KubeEdge write their fields with capitals.
func taints(c *converter, path string, n *yaml.Node) {
	var items []map[string]any
	if n.Kind != yaml.SequenceNode || n.Decode(&items) != nil {
		c.refuse(n, "%s: want a list of taints", path)
		return
	}
	var out []string
	for _, item := range items {
		field := func(name string) string {
			for key, value := range item {
				if text, ok := value.(string); ok && strings.EqualFold(key, name) {
					return text
				}
			}
			return ""
		}
		text := field("key")
		if value := field("value"); value != "" {
			text += "=" + value
		}
		out = append(out, text+":"+field("effect"))
	}
	c.set(path, "register-with-taints", out)
}

// kubelet converts the kubelet's fields.
func kubelet(c *converter, path string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		c.refuse(n, "%s: want an object", path)
		return
	}
	known := make(map[string]bool)
	for _, f := range kubeletconfig.Fields() {
		top, _, _ := strings.Cut(strings.ReplaceAll(f.Path, "[]", ""), ".")
		known[top] = true
	}
	own := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case !known[key.Value]:
			c.note(path+"."+key.Value, Lost, "no field of a kubelet's configuration")
		case key.Value == "readOnlyPort" && value.Value == "10350", key.Value == "address" && value.Value == "127.0.0.1":
			c.note(path+"."+key.Value, NotNeeded, "there is no port without authentication; 'edgectl get' asks the node's own API")
		default:
			own.Content = append(own.Content, key, value)
		}
	}
	cfg, err := kubeletconfig.FromNode(c.file, own)
	if err != nil {
		c.refuse(n, "%s: %w", path, err)
		return
	}
	for name, s := range cfg.Settings {
		c.set(path, name, s.Value)
	}
	for _, f := range cfg.UnusedFields() {
		importance := NotNeeded
		if f.Use == kubeletconfig.Unsupported || f.Use == kubeletconfig.NotYet {
			importance = Lost
		}
		c.note(path+"."+f.Field, importance, f.Why)
	}
}
