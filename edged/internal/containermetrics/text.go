package containermetrics

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
)

// family writes one value of all groups that have it. A family without help goes on with the one
// before it.
func (t *text) family(f family, groups []group) {
	named := f.help == ""
	for i := range groups {
		g := &groups[i]
		if !g.has[f.of] {
			continue
		}
		if !named {
			t.head(f.name, f.help, f.counter)
			named = true
		}
		t.sample(f.name, g.labels, f.labels[0], g.value[f.of], f.divisor)
		if f.labels[1] != "" {
			t.sample(f.name, g.labels, f.labels[1], g.value[f.of], f.divisor)
		}
	}
}

// disks writes what groups read and wrote. A disk without a name is left out, as it is one that
// ended.
func (t *text) disks(groups []group) {
	for _, f := range []struct {
		name, help string
		of         func(d *disk) uint64
	}{
		{"container_fs_reads_bytes_total", "Cumulative count of bytes read.", func(d *disk) uint64 { return d.readBytes }},
		{"container_fs_reads_total", "Cumulative count of reads.", func(d *disk) uint64 { return d.reads }},
		{"container_fs_writes_bytes_total", "Cumulative count of bytes written.", func(d *disk) uint64 { return d.writeBytes }},
		{"container_fs_writes_total", "Cumulative count of writes.", func(d *disk) uint64 { return d.writes }},
	} {
		named := false
		for i := range groups {
			for j := range groups[i].disks {
				d := &groups[i].disks[j]
				if d.device == "" {
					continue
				}
				if !named {
					t.head(f.name, f.help, true)
					named = true
				}
				t.sample(f.name, groups[i].labels, string(appendLabel(nil, "device", d.device)), f.of(d), 0)
			}
		}
	}
}

// filesystems writes how full the machine's file systems are.
func (t *text) filesystems(all []filesystem, labels []byte) {
	if len(all) == 0 {
		return
	}
	for _, f := range []struct {
		name, help string
		of         func(s *filesystem) uint64
	}{
		{"container_fs_inodes_free", "Number of inodes that are free.", func(s *filesystem) uint64 { return s.inodesFree }},
		{"container_fs_inodes_total", "Number of inodes.", func(s *filesystem) uint64 { return s.inodes }},
		{"container_fs_limit_bytes", "Bytes of the file system.", func(s *filesystem) uint64 { return s.limit }},
		{"container_fs_usage_bytes", "Bytes in use on the file system.", func(s *filesystem) uint64 { return s.usage }},
	} {
		t.head(f.name, f.help, false)
		for i := range all {
			t.sample(f.name, labels, string(appendLabel(nil, "device", all[i].device)), f.of(&all[i]), 0)
		}
	}
}

// links writes the traffic of network interfaces.
func (t *text) links(groups []group) {
	for _, way := range []struct {
		name, did string
		of        func(l *link) *[4]uint64
	}{
		{"receive", "received", func(l *link) *[4]uint64 { return &l.in }},
		{"transmit", "sent", func(l *link) *[4]uint64 { return &l.out }},
	} {
		for i, what := range [4][2]string{{"bytes", "bytes "}, {"packets", "packets "}, {"errors", "errors while packets were "}, {"packets_dropped", "packets dropped while they were "}} {
			name := "container_network_" + way.name + "_" + what[0] + "_total"
			named := false
			for j := range groups {
				for k := range groups[j].links {
					if !named {
						t.head(name, "Cumulative count of "+what[1]+way.did+".", true)
						named = true
					}
					l := &groups[j].links[k]
					t.sample(name, groups[j].labels, string(appendLabel(nil, "interface", l.name)), way.of(l)[i], 0)
				}
			}
		}
	}
}

// scrapeError writes whether something could not be read.
func (t *text) scrapeError(of string, err error) {
	failed := "0\n"
	if err != nil {
		failed = "1\n"
	}
	t.head(of+"_scrape_error", "1 if the metrics could not be read, 0 otherwise.", false)
	t.put(of, "_scrape_error ", failed)
}

// version writes which kernel and system the machine has. The versions of others are "".
func (t *text) version(info corev1.NodeSystemInfo) {
	var labels []byte
	for _, l := range [][2]string{{"cadvisorRevision", ""}, {"cadvisorVersion", ""}, {"dockerVersion", ""}, {"kernelVersion", info.KernelVersion}, {"osVersion", info.OSImage}} {
		labels = appendLabel(labels, l[0], l[1])
	}
	t.head("cadvisor_version_info", "The versions of the kernel and of the system; the value is 1.", false)
	t.sample("cadvisor_version_info", labels, "", 1, 0)
}

// machine writes what the machine has.
func (t *text) machine(r *reader, info corev1.NodeSystemInfo, memory, swap uint64) {
	var labels []byte
	for _, l := range [][2]string{{"boot_id", info.BootID}, {"machine_id", info.MachineID}, {"system_uuid", cmp.Or(info.SystemUUID, info.MachineID)}} {
		labels = appendLabel(labels, l[0], l[1])
	}
	logical, cores, sockets := r.cpus()
	for _, m := range []struct {
		name, help string
		value      uint64
	}{
		{"cpu_cores", "Number of logical CPUs.", uint64(logical)},
		{"cpu_physical_cores", "Number of physical CPU cores.", uint64(cores)},
		{"cpu_sockets", "Number of CPU sockets.", uint64(sockets)},
		{"memory_bytes", "Bytes of memory.", memory},
		{"swap_bytes", "Bytes of swap.", swap},
	} {
		t.head("machine_"+m.name, m.help, false)
		t.sample("machine_"+m.name, labels, "", m.value, 0)
	}
	t.scrapeError("machine", nil)
}
