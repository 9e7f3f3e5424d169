//! intermediate-ca
