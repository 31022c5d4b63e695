// Package metrics shows what a device.Mapper does: a [Collector] for Prometheus, which reads
// device.Stats when it is scraped, and [Health], an HTTP handler for probes.
//
// No metric has a label for a device or a property: a mapper of 10,000 devices has as many time
// series as one with ten. What concerns one device is in its conditions, and in Mapper.Devices.
//
//	edgekit_mapper_devices                  protocol, state   now
//	edgekit_mapper_opens_total              protocol, result
//	edgekit_mapper_reads_total              protocol, result  properties
//	edgekit_mapper_invalid_values_total     protocol          read and not reported: another type, NaN, not in the transform
//	edgekit_mapper_writes_total             protocol, result
//	edgekit_mapper_not_taken_total          protocol          writes after which the device had another value
//	edgekit_mapper_reported_values_total    protocol
//	edgekit_mapper_reports_total            protocol, result
//	edgekit_mapper_calls_total              protocol, result  of methods
//	edgekit_mapper_driver_panics_total      protocol
//	edgekit_mapper_driver_stuck             protocol          calls that do not return, now
//	edgekit_mapper_proposals                protocol          devices that were found and not adopted, now
//
// A result is "ok" or "error". All may be used by several goroutines at once.
package metrics
