// Package leader makes one cloudcore at a time do some work: the one that holds a Lease.
//
// client-go's own elector releases the Lease while the work may still run; this one joins the
// work first. A Lease that was not renewed for 15 s, by the clock of whoever looks, is free;
// clocks are not compared. The leader stops its work when it could not renew the Lease for 10 s. It
// stops at its next renewal, 2 s later at most, when somebody has taken or deleted the Lease.
//
// An Elector is used by one goroutine.
package leader
