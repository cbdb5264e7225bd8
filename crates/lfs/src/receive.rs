//! A whole object through the hub: `PUT href`.
//!
//! The bytes are hashed while they are written. Nothing of them is under a key before size and SHA-256 are proven, and
//! nothing is in a row before they are durable. Two clients that bring the same object have two uploads, hence two
//! keys; the second copy is found to be one when it is published, and deleted.

use std::io;

use auth::transfer::{Grant, Operation};
use auth::{Authorized, Propose};
use bytes::Bytes;
use database::{Proof, fault};
use storage::{StoreError, Writer};

use crate::counters::count;
use crate::flights::Flight;
use crate::publish::{Arrival, Known};
use crate::{Objects, ReceiveError};
use auth::shares::Share;

/// An object that is arriving. Dropped, nothing of it stays.
pub struct Receiving {
    objects: Objects,
    access: Authorized<Propose>,
    arrival: Arrival,
    received: u64,
    /// `None` if the object is here already: what arrives is counted and dropped.
    landing: Option<Landing>,
    _permit: Share,
}

struct Landing {
    writer: Writer,
    _flight: Flight,
}

impl Objects {
    pub async fn receive(
        &self,
        access: Authorized<Propose>,
        grant: &Grant,
    ) -> Result<Receiving, ReceiveError> {
        if grant.operation != Operation::Upload {
            return Err(ReceiveError::Grant);
        }
        let arrival = Arrival::of(&access, grant)?;
        let permit = self.permit(&arrival)?;
        let landing = match self.known(&arrival)? {
            // The answer to an earlier PUT was lost on its way.
            Known::Here => None,
            // Those went past the hub.
            Known::Claimed(_) => return Err(ReceiveError::Closed),
            Known::Not => Some(self.landing(&arrival).await?),
        };
        Ok(Receiving { objects: self.clone(), access, arrival, received: 0, landing, _permit: permit })
    }

    /// To receive one body.
    pub(crate) fn permit(&self, arrival: &Arrival) -> Result<Share, ReceiveError> {
        self.0.uploads.take(arrival.by, 1).ok_or(ReceiveError::Busy)
    }

    async fn landing(&self, arrival: &Arrival) -> Result<Landing, ReceiveError> {
        let flight = self.0.flights.begin(arrival.upload, arrival.sha256).ok_or(ReceiveError::Busy)?;
        // In this order: the sweep first closes an upload, then looks at the flights.
        self.check_open(arrival)?;
        Ok(Landing { writer: self.0.store.writer(&arrival.key(), arrival.size).await?, _flight: flight })
    }
}

impl Receiving {
    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.arrival.size - self.received
    }

    /// The next bytes, in any cut. After an error only the drop is left.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ReceiveError> {
        count(&self.objects.0.counters.bytes_in, bytes.len() as u64);
        if bytes.len() as u64 > self.remaining() {
            return Err(ReceiveError::TooLong { size: self.arrival.size });
        }
        self.received += bytes.len() as u64;
        match &mut self.landing {
            Some(landing) => Ok(landing.writer.write(bytes).await?),
            None => Ok(()),
        }
    }

    /// After the last byte. Runs to its end even if this is dropped. Returns when the object is readable, and durable;
    /// or, if that takes long, before its client loses patience.
    pub async fn finish(self) -> Result<(), ReceiveError> {
        if self.remaining() > 0 {
            return Err(ReceiveError::TooShort { received: self.received, size: self.arrival.size });
        }
        let (objects, arrival) = (self.objects.clone(), self.arrival);
        objects.landed_soon(&arrival, self.land()).await
    }

    async fn land(self) -> Result<(), ReceiveError> {
        let Receiving { objects, access, arrival, landing, _permit, .. } = self;
        match landing {
            Some(Landing { writer, _flight }) => objects.land(&arrival, writer, Some(&access)).await,
            None => Ok(()),
        }
    }
}

impl Objects {
    /// Proof, bytes, row: in this order.
    pub(crate) async fn land(
        &self,
        arrival: &Arrival,
        writer: Writer,
        access: Option<&Authorized<Propose>>,
    ) -> Result<(), ReceiveError> {
        let complete = writer.finish().await?;
        if complete.size() != arrival.size {
            return Err(ReceiveError::TooShort { received: complete.size(), size: arrival.size });
        }
        let actual = complete.sha256().expect("because a writer computes it unless told otherwise");
        if actual != arrival.sha256 {
            return Err(ReceiveError::WrongBytes { expected: arrival.sha256, actual });
        }
        fault::point(fault::Point::LfsObjectStaged);
        complete.publish().await.map_err(taken)?;
        fault::point(fault::Point::LfsObjectDurable);
        self.publish(arrival, Proof::Verified, access).await.map(drop)
    }
}

/// A crash left the bytes of an earlier PUT under the same key. A key is written once, so another upload must be made.
pub(crate) fn taken(error: StoreError) -> ReceiveError {
    match error {
        StoreError::Io(error) if error.kind() == io::ErrorKind::AlreadyExists => ReceiveError::Closed,
        other => ReceiveError::Store(other),
    }
}
