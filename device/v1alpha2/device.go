package v1alpha2

import (
	"fmt"
	"maps"
	"slices"
)

// Cycles in this range mean nanoseconds in some old files and milliseconds to v1beta1.
const (
	doubtfulCycle = 1_000_000
	maxCycle      = 24 * 60 * 60 * 1000 // what is longer is read as nanoseconds
)

// device converts the spec of a Device. In v1alpha2 the desired values are in the status.
func (c *conversion) device(old, status map[string]any) map[string]any {
	out := map[string]any{"deviceModelRef": map[string]any{"name": child(old, "deviceModelRef")["name"]}}
	if text(child(old, "deviceModelRef")["name"]) == "" {
		c.problem("spec.deviceModelRef.name", "missing: name the DeviceModel")
	}
	if node := c.node(child(old, "nodeSelector")); node != "" {
		out["nodeName"] = node
	}
	protocol, config := c.protocol(child(old, "protocol"))
	if protocol != "" {
		out["protocol"] = map[string]any{"protocolName": protocol, "configData": config}
	}
	properties := c.properties(old, status)
	if len(properties) > 0 {
		out["properties"] = properties
	}
	if data := child(old, "data"); len(data) > 0 {
		c.problem("spec.data", "v1beta1 has no data topic: give each property a pushMethod.mqtt with the broker and the topic %q", text(data["dataTopic"]))
	}
	c.rest("spec", old, "deviceModelRef", "nodeSelector", "protocol", "propertyVisitors", "data")
	c.rest("status", status, "twins", "state", "lastOnline", "lastOnlineTime")
	return out
}

// node returns the one node that a selector names.
func (c *conversion) node(selector map[string]any) string {
	if len(selector) == 0 {
		return ""
	}
	terms := children(selector, "nodeSelectorTerms")
	if len(terms) == 1 {
		all := append(children(terms[0], "matchExpressions"), children(terms[0], "matchFields")...)
		if len(all) == 1 && text(all[0]["operator"]) == "In" {
			values, _ := all[0]["values"].([]any)
			key := text(all[0]["key"])
			if len(values) == 1 && slices.Contains([]string{"", "name", "metadata.name", "kubernetes.io/hostname"}, key) {
				return text(values[0])
			}
		}
	}
	c.problem("spec.nodeSelector", "it does not name one node: set spec.nodeName in the result")
	return ""
}

// protocol returns the name of a protocol and its connection data, the common part
// included.
func (c *conversion) protocol(old map[string]any) (name string, config map[string]any) {
	config = make(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(old)) {
		part, _ := old[key].(map[string]any)
		path := "spec.protocol." + key
		switch key {
		case "common":
			for _, inner := range slices.Sorted(maps.Keys(part)) {
				switch inner {
				case "com", "tcp", "customizedValues":
					c.merge(path+"."+inner, config, child(part, inner))
				default:
					config[inner] = part[inner]
				}
			}
			continue
		case "customizedProtocol":
			name = c.one(path, name, text(part["protocolName"]))
			c.merge(path+".configData", config, child(part, "configData"))
			c.rest(path, part, "protocolName", "configData")
			continue
		case "modbus": // v1alpha1 has rtu or tcp below it
			for _, inner := range []string{"rtu", "tcp"} {
				c.merge(path+"."+inner, config, child(part, inner))
			}
			part = maps.Clone(part)
			delete(part, "rtu")
			delete(part, "tcp")
		}
		name = c.one(path, name, key)
		c.merge(path, config, part)
	}
	return name, config
}

// one keeps the first of two protocols.
func (c *conversion) one(path, have, next string) string {
	if have != "" {
		c.problem(path, "a second protocol beside %s: its data is merged; check protocol in the result", have)
		return have
	}
	return next
}

// merge lays from over to.
func (c *conversion) merge(path string, to, from map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(from)) {
		if have, ok := to[key]; ok && text(have) != text(from[key]) {
			c.problem(path+"."+key, "another field of that name has the value %q: left out", text(have))
			continue
		}
		to[key] = from[key]
	}
}

// properties are made of the visitors, the twins and the data properties.
func (c *conversion) properties(old, status map[string]any) []any {
	var out []any
	add := func(name string) map[string]any {
		if p := find(out, name); p != nil {
			return p
		}
		p := map[string]any{"name": name, "reportToCloud": true}
		out = append(out, p)
		return p
	}
	for i, v := range children(old, "propertyVisitors") {
		path := fmt.Sprintf("spec.propertyVisitors[%d]", i)
		p := add(text(v["propertyName"]))
		_, p["visitors"] = c.visitor(path, v)
		for _, cycle := range []string{"reportCycle", "collectCycle"} {
			n, ok := v[cycle].(float64)
			if !ok {
				continue
			}
			p[cycle] = int64(n)
			if n >= doubtfulCycle && n <= maxCycle {
				c.problem(path+"."+cycle, "%d are milliseconds in v1beta1: if the old mapper read nanoseconds, set %d", int64(n), int64(n)/1_000_000)
			}
		}
	}
	twins := make(map[string]bool)
	for _, t := range children(status, "twins") {
		name := text(t["propertyName"])
		twins[name] = true
		p := add(name)
		if desired := child(t, "desired"); text(desired["value"]) != "" {
			value := map[string]any{"value": text(desired["value"])}
			copyKeys(value, desired, "metadata")
			p["desired"] = value
		}
	}
	for _, d := range children(child(old, "data"), "dataProperties") {
		if name := text(d["propertyName"]); !twins[name] {
			delete(add(name), "reportToCloud") // it went to the data topic only
		}
	}
	return out
}

// visitor returns the visitor of a property, with its protocol.
func (c *conversion) visitor(path string, old map[string]any) (protocol string, visitor map[string]any) {
	config := make(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(old)) {
		part := child(old, key)
		switch key {
		case "propertyName", "reportCycle", "collectCycle":
		case "customizedValues":
			c.merge(path+"."+key, config, part)
		case "customizedProtocol":
			protocol = c.one(path, protocol, text(part["protocolName"]))
			c.merge(path+".configData", config, child(part, "configData"))
		case "modbus", "opcua", "bluetooth":
			protocol = c.one(path+"."+key, protocol, key)
			c.merge(path+"."+key, config, part)
		default:
			c.problem(path+"."+key, "unknown field: left out")
		}
	}
	visitor = map[string]any{"configData": config}
	if protocol != "" {
		visitor["protocolName"] = protocol
	}
	return protocol, visitor
}
