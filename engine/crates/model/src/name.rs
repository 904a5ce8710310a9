//! Names of containers and volumes: the rule that typed ones obey, and the words of random ones.

use crate::{Error, Result};

/// Docker's rule, as its errors show it. A name has at least two characters.
pub const NAME_CHARACTERS: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

fn fits(name: &str) -> bool {
    name.len() >= 2
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Checks a container's name and takes the leading slash off, if it has one.
///
/// # Errors
/// `InvalidArgument` in Docker's words.
pub fn parse_container_name(text: &str) -> Result<String> {
    let name = text.strip_prefix('/').unwrap_or(text);
    if fits(name) {
        Ok(name.to_owned())
    } else {
        Err(Error::invalid(format!("Invalid container name ({text}), only {NAME_CHARACTERS} are allowed")))
    }
}

/// Checks a volume's name. It becomes a directory's name, so its length is bounded too.
///
/// # Errors
/// `InvalidArgument` in Docker's words.
pub fn parse_volume_name(text: &str) -> Result<String> {
    /// NAME_MAX of the usual filesystems (`limits.h`).
    const LENGTH_MAX: usize = 255;
    if text.len() == 1 {
        return Err(Error::invalid(
            "volume name is too short, names should be at least two alphanumeric characters",
        ));
    }
    if text.len() > LENGTH_MAX {
        return Err(Error::invalid(format!(
            "volume name is too long: {} characters, at most {LENGTH_MAX}",
            text.len()
        )));
    }
    if fits(text) {
        Ok(text.to_owned())
    } else {
        Err(Error::invalid(format!(
            "{text:?} includes invalid characters for a local volume name, only {NAME_CHARACTERS:?} are allowed. \
             If you intended to pass a host directory, use absolute path"
        )))
    }
}

/// A name such as `calm_hopper`, the same for the same seed. The caller draws the seed, and another one when
/// the name is taken.
pub fn random_name(seed: u64) -> String {
    let mut state = seed;
    loop {
        let adjective = ADJECTIVES[draw(&mut state, ADJECTIVES.len())];
        let surname = SURNAMES[draw(&mut state, SURNAMES.len())];
        // Steve Wozniak is not boring (Docker's namesgenerator has the same rule).
        if (adjective, surname) != ("boring", "wozniak") {
            return format!("{adjective}_{surname}");
        }
    }
}

/// A random name with a digit at its end, for when plain ones keep being taken.
pub fn random_name_with_digit(seed: u64) -> String {
    let mut state = seed ^ 0x5bd1_e995;
    format!("{}{}", random_name(seed), draw(&mut state, 10))
}

/// SplitMix64 (Steele, Lea, Flood 2014): any seed, zero included, gives well-spread numbers.
fn draw(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    // The high half of a 128-bit product is below `below`, so it fits where that came from.
    usize::try_from((u128::from(z) * below as u128) >> 64).unwrap_or(0)
}

const ADJECTIVES: [&str; 116] = [
    "able", "adept", "agile", "airy", "alert", "amber", "ample", "apt", "ardent", "awake", "balmy",
    "beaming", "blithe", "bold", "boring", "brave", "breezy", "bright", "brisk", "buoyant", "calm", "candid",
    "careful", "cheerful", "clever", "coastal", "cosy", "crisp", "curious", "daring", "deft", "devoted",
    "dreamy", "eager", "earnest", "easy", "elegant", "epic", "exact", "fair", "famous", "fearless",
    "festive", "fleet", "fluent", "focused", "fond", "frank", "free", "fresh", "gallant", "gentle", "gifted",
    "glad", "golden", "graceful", "grand", "happy", "hardy", "hearty", "honest", "hopeful", "humble",
    "ideal", "jolly", "jovial", "keen", "kind", "lasting", "lively", "lucid", "lucky", "mellow", "merry",
    "mighty", "mindful", "modest", "neat", "nimble", "noble", "novel", "patient", "peaceful", "placid",
    "playful", "polite", "proud", "quick", "quiet", "radiant", "ready", "robust", "sage", "serene", "sharp",
    "silent", "sincere", "smooth", "snug", "sober", "spirited", "stable", "steady", "stoic", "sunny",
    "swift", "tender", "tidal", "tidy", "trusty", "upbeat", "valiant", "vivid", "warm", "wise", "witty",
];

/// People who found things out or made things work.
const SURNAMES: [&str; 223] = [
    "abel",
    "agnesi",
    "alhazen",
    "ampere",
    "anning",
    "archimedes",
    "aryabhata",
    "avicenna",
    "avogadro",
    "babbage",
    "backus",
    "banach",
    "banneker",
    "banting",
    "bardeen",
    "bayes",
    "becquerel",
    "bell",
    "berners",
    "bernoulli",
    "bessemer",
    "bhabha",
    "bohr",
    "boltzmann",
    "boole",
    "bose",
    "boyle",
    "brahe",
    "brahmagupta",
    "braun",
    "brattain",
    "brunel",
    "burnell",
    "cannon",
    "cantor",
    "carnot",
    "carson",
    "cauchy",
    "cavendish",
    "cerf",
    "chandrasekhar",
    "chatelet",
    "chebyshev",
    "clarke",
    "cohn",
    "conway",
    "copernicus",
    "cori",
    "coulomb",
    "cray",
    "crick",
    "curie",
    "cuvier",
    "dahl",
    "dalton",
    "darwin",
    "davinci",
    "davy",
    "dedekind",
    "democritus",
    "diesel",
    "dijkstra",
    "dirac",
    "doppler",
    "drew",
    "eckert",
    "edison",
    "ehrlich",
    "einstein",
    "elion",
    "engelbart",
    "eratosthenes",
    "erdos",
    "euclid",
    "euler",
    "faraday",
    "feistel",
    "fermat",
    "fermi",
    "feynman",
    "fibonacci",
    "fleming",
    "foucault",
    "fourier",
    "franklin",
    "fresnel",
    "galileo",
    "galois",
    "galvani",
    "gauss",
    "germain",
    "gibbs",
    "goddard",
    "godel",
    "goeppert",
    "goodall",
    "goldberg",
    "gosling",
    "haber",
    "hadamard",
    "haibt",
    "hamilton",
    "hamming",
    "harvey",
    "hawking",
    "heaviside",
    "heisenberg",
    "helmholtz",
    "hermite",
    "hero",
    "herschel",
    "hertz",
    "hilbert",
    "hipparchus",
    "hodgkin",
    "hollerith",
    "holmes",
    "hooke",
    "hopper",
    "hubble",
    "humboldt",
    "huygens",
    "hypatia",
    "jacobi",
    "jacquard",
    "jenner",
    "johnson",
    "jones",
    "joule",
    "kalman",
    "kapitsa",
    "keller",
    "kelvin",
    "kepler",
    "khayyam",
    "khwarizmi",
    "kilby",
    "kirch",
    "kirchhoff",
    "knuth",
    "koch",
    "kolmogorov",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "lamport",
    "landau",
    "laplace",
    "lavoisier",
    "leavitt",
    "leibniz",
    "lehmann",
    "liskov",
    "lorentz",
    "lovelace",
    "lumiere",
    "maathai",
    "marconi",
    "maxwell",
    "mayer",
    "mccarthy",
    "mcclintock",
    "meitner",
    "mendel",
    "mendeleev",
    "mirzakhani",
    "monge",
    "morse",
    "napier",
    "nash",
    "neumann",
    "newcomen",
    "newton",
    "nightingale",
    "nobel",
    "noether",
    "ohm",
    "oppenheimer",
    "ostrom",
    "otto",
    "panini",
    "papin",
    "pascal",
    "pasteur",
    "pauli",
    "pauling",
    "pavlov",
    "payne",
    "perlman",
    "planck",
    "poincare",
    "ptolemy",
    "pythagoras",
    "raman",
    "ramanujan",
    "riemann",
    "ritchie",
    "roentgen",
    "rubin",
    "rutherford",
    "sagan",
    "salk",
    "schrodinger",
    "shannon",
    "siemens",
    "somerville",
    "stallman",
    "steinmetz",
    "tesla",
    "thales",
    "thompson",
    "torricelli",
    "torvalds",
    "turing",
    "volta",
    "wallace",
    "watt",
    "wiener",
    "wozniak",
    "wright",
    "wu",
    "yonath",
    "zuse",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_dockers() {
        assert_eq!(parse_container_name("/web.1_a-b").unwrap(), "web.1_a-b");
        for bad in ["", "/", "a", "//ab", "-ab", "_ab", "a b", "a/b", "é1", "ab\n"] {
            assert!(parse_container_name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            parse_container_name("a b").unwrap_err().to_string(),
            "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        );
        assert!(parse_volume_name("data-1").is_ok());
        for bad in ["", "a", "../x", "/abs", &"v".repeat(256)] {
            assert!(parse_volume_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn random_names_obey_it_and_vary() {
        let names: std::collections::HashSet<String> = (0..2000).map(random_name).collect();
        assert!(names.len() > 1800, "only {} different names", names.len());
        assert!(names.iter().all(|n| parse_container_name(n).is_ok() && n != "boring_wozniak"));
        assert_eq!(random_name(7), random_name(7));
        assert!(random_name_with_digit(7).ends_with(|c: char| c.is_ascii_digit()));
    }

    #[test]
    fn words_are_listed_once() {
        let unique =
            |words: &[&str]| words.iter().collect::<std::collections::HashSet<_>>().len() == words.len();
        assert!(unique(&ADJECTIVES) && unique(&SURNAMES));
    }
}
