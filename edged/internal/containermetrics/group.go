package containermetrics

import "strings"

// group is a control group and what it uses.
type group struct {
	dir    string // below the hierarchies' mounts
	labels []byte // as they are written, without braces
	value  [metricCount]uint64
	has    [metricCount]bool
	disks  []disk
	links  []link
	usage  []filesystem // of the machine only
}

// set notes a value.
func (g *group) set(m metric, v uint64) { g.value[m], g.has[m] = v, true }

// disk is what was read from and written to a disk.
type disk struct {
	device                               string // such as /dev/sda; "" if it has no name
	id                                   string // major:minor
	readBytes, writeBytes, reads, writes uint64
}

// disk finds the entry of a disk, and makes it the first time.
func (g *group) disk(id []byte) *disk {
	for i := range g.disks {
		if g.disks[i].id == string(id) {
			return &g.disks[i]
		}
	}
	g.disks = append(g.disks, disk{id: string(id)})
	return &g.disks[len(g.disks)-1]
}

// link is the traffic of a network interface: bytes, packets, errors and dropped packets that
// came in, and the same that went out.
type link struct {
	name    string
	in, out [4]uint64
}

// filesystem is a file system of the machine.
type filesystem struct {
	device                           string
	limit, usage, inodes, inodesFree uint64
}

// appendLabels writes the labels of a group, in the order of their names.
func appendLabels(to []byte, container, id, image, name, namespace, pod string) []byte {
	for _, l := range [...][2]string{{"container", container}, {"id", id}, {"image", image}, {"name", name}, {"namespace", namespace}, {"pod", pod}} {
		to = appendLabel(to, l[0], l[1])
	}
	return to
}

// appendLabel writes a label, after a comma if it is not the first.
func appendLabel(to []byte, name, value string) []byte {
	if len(to) > 0 {
		to = append(to, ',')
	}
	to = append(append(to, name...), '=', '"')
	return append(appendEscaped(to, value), '"')
}

// appendEscaped writes the value of a label.
// https://prometheus.io/docs/instrumenting/exposition_formats/#comments-help-text-and-type-information
func appendEscaped(to []byte, value string) []byte {
	if !strings.ContainsAny(value, "\\\"\n") {
		return append(to, strings.ToValidUTF8(value, "\uFFFD")...)
	}
	for _, r := range strings.ToValidUTF8(value, "\uFFFD") {
		switch r {
		case '\\':
			to = append(to, `\\`...)
		case '"':
			to = append(to, `\"`...)
		case '\n':
			to = append(to, `\n`...)
		default:
			to = append(to, string(r)...)
		}
	}
	return to
}
