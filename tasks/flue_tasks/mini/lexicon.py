"""The words of the mini tasks. Adjectives: the masculine, and "/feminine" where ``grammar.feminine`` has no rule."""

from __future__ import annotations

from flue_tasks.mini.grammar import Noun


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _nouns(masculine: str = "", feminine: str = "", masculines: str = "", feminines: str = "") -> tuple[Noun, ...]:
    groups = ((masculine, "m", False), (feminine, "f", False), (masculines, "m", True), (feminines, "f", True))
    return tuple(Noun(word, gender, plural) for text, gender, plural in groups for word in _list(text))


# --- people -----------------------------------------------------------------------------------------------------------

WOMEN = _list(
    "Alice, Amina, Anaïs, Aurélie, Camélia, Caroline, Chloé, Clémence, Delphine, Élise, Émilie, Fatou, Gaëlle, "
    "Hélène, Inès, Jeanne, Judith, Karima, Léa, Louise, Lucie, Manon, Mathilde, Nadia, Noémie, Odile, Pauline, "
    "Rachel, Sabine, Salomé, Sophie, Suzanne, Thérèse, Valérie, Yasmine, Zoé"
)
MEN = _list(
    "Adrien, Alain, Amadou, Antoine, Basile, Bruno, Cédric, Damien, Denis, Émile, Étienne, Fabrice, Félix, Georges, "
    "Grégoire, Hugo, Ibrahim, Jérôme, Jules, Karim, Léon, Louis, Mathieu, Mehdi, Nicolas, Oscar, Patrice, Quentin, "
    "Rémi, Samuel, Simon, Thomas, Tristan, Victor, Xavier, Yves"
)
SURNAMES = _list(
    "Allard, Aubert, Baudry, Bellanger, Berthier, Bonnard, Bouvier, Brunet, Carlier, Chauvin, Colin, Cordier, Delmas, "
    "Deschamps, Diallo, Dubreuil, Fabre, Ferrand, Garnier, Gauthier, Giraud, Guérin, Haddad, Hébert, Jacquet, "
    "Joubert, Kerviel, Lambert, Leblond, Lemaître, Mallet, Marchand, Masson, Mercier, Morel, Nguyen, Noiret, "
    "Ollivier, Pasquier, Perrin, Poirier, Prévost, Quentin, Rambert, Rivière, Roussel, Sabatier, Salmon, Tessier, "
    "Thibault, Tournier, Vasseur, Verdier, Vidal, Villard, Zidi"
)
ROLES = _nouns(
    "acteur, architecte, arbitre, avocat, banquier, berger, bijoutier, boulanger, capitaine, champion, chanteur, "
    "chimiste, coiffeur, comptable, cuisinier, dentiste, député, dessinateur, diplomate, directeur, écrivain, "
    "entraîneur, facteur, fleuriste, gardien, gendarme, guide, historien, horloger, infirmier, ingénieur, inspecteur, "
    "jardinier, journaliste, juge, libraire, maire, mécanicien, médecin, menuisier, metteur en scène, ministre, "
    "musicien, notaire, ouvrier, peintre, pharmacien, pianiste, pilote, plombier, préfet, professeur, romancier, "
    "sculpteur, secrétaire, sénateur, serveur, traducteur, vendeur, vétérinaire, violoniste",
    "actrice, archéologue, architecte, avocate, bibliothécaire, biologiste, bouchère, caissière, chanteuse, "
    "chercheuse, chorégraphe, cinéaste, coiffeuse, conseillère, couturière, cuisinière, danseuse, dentiste, députée, "
    "dessinatrice, directrice, écrivaine, entraîneuse, factrice, fleuriste, gardienne, graphiste, historienne, "
    "infirmière, ingénieure, inspectrice, institutrice, jardinière, joueuse, journaliste, juge, libraire, mairesse, "
    "marchande, mécanicienne, ministre, musicienne, notaire, ouvrière, pharmacienne, pianiste, photographe, poétesse, "
    "présidente, psychologue, réalisatrice, romancière, sénatrice, serveuse, traductrice, vendeuse, vétérinaire, "
    "voisine",
)
GROUPS = _nouns(
    masculines="avocats, bénévoles, candidats, chanteurs, chercheurs, clients, commerçants, conseillers, danseurs, "
    "députés, élèves, employés, étudiants, gardiens, habitants, invités, jardiniers, joueurs, journalistes, jurés, "
    "marins, médecins, musiciens, ouvriers, parents, passagers, peintres, pêcheurs, pompiers, retraités, soldats, "
    "touristes, vendeurs, voisins, voyageurs",
    feminines="avocates, candidates, chanteuses, clientes, danseuses, déléguées, employées, étudiantes, musiciennes, "
    "ouvrières, passagères, retraitées, touristes, voisines",
)

# --- places -----------------------------------------------------------------------------------------------------------

TOWNS = _list(
    "Agen, Albi, Amiens, Angers, Angoulême, Annecy, Arles, Arras, Auch, Aurillac, Auxerre, Avignon, Bayonne, "
    "Besançon, Béziers, Blois, Bourges, Brest, Caen, Cahors, Calais, Carcassonne, Chambéry, Chartres, Cherbourg, "
    "Colmar, Dieppe, Dijon, Dole, Douai, Épinal, Évreux, Gap, Grenoble, Guéret, Honfleur, Lille, Limoges, Lorient, "
    "Mâcon, Marseille, Metz, Montpellier, Moulins, Mulhouse, Nantes, Narbonne, Nice, Nîmes, Niort, Orléans, "
    "Perpignan, Poitiers, Quimper, Reims, Rennes, Roanne, Rodez, Rouen, Saintes, Saumur, Sedan, Strasbourg, Tarbes, "
    "Toulon, Toulouse, Tours, Troyes, Tulle, Vannes, Vesoul"
)

# --- reviews ----------------------------------------------------------------------------------------------------------

STORY = _nouns(
    "début, dénouement, récit, style, rythme, scénario, suspense, ton, héros, narrateur, épilogue, prologue, "
    "vocabulaire, découpage, premier chapitre, second degré",
    "fin, intrigue, histoire, narration, héroïne, atmosphère, enquête, conclusion, dernière partie, construction, "
    "première moitié, psychologie, morale",
    "dialogues, personnages, chapitres, rebondissements, seconds rôles",
    "descriptions, scènes d'action, digressions, péripéties",
)
SCREEN = _nouns(
    "début, dénouement, rythme, scénario, montage, cadrage, doublage, casting, héros, final, générique, tournage",
    "fin, intrigue, image, mise en scène, photographie, bande originale, lumière, interprétation, réalisation, "
    "héroïne, première heure, scène finale, musique, ouverture",
    "dialogues, décors, costumes, effets spéciaux, seconds rôles, gags",
    "cascades, scènes de foule, répliques",
)
MUSIC = _nouns(
    "début, refrain, rythme, chant, son, mixage, orchestre, chœur, livret, premier titre, dernier morceau",
    "voix, mélodie, production, prise de son, première partie, seconde partie, pochette, section rythmique, ballade, "
    "interprétation, reprise, introduction, écriture",
    "arrangements, textes, refrains, duos, solos, cuivres",
    "paroles, guitares, cordes, mélodies, chansons douces, percussions, harmonies",
)
PRODUCT = _nouns(
    "mode d'emploi, emballage, design, service après-vente, réglage, rapport qualité-prix, confort, format, montage, "
    "habillage, matériau, rangement, système de fixation, guide de démarrage, revêtement",
    "notice, finition, livraison, garantie, conception, fabrication, présentation, prise en main, solidité, "
    "stabilité, ergonomie, documentation, housse de transport, mise en service",
    "accessoires, réglages, matériaux, conseils d'utilisation, schémas, détails",
    "finitions, explications, consignes, pièces de rechange, performances",
)
ART_GOOD = _list(
    "superbe, captivant, touchant, subtil, original, brillant, réussi, passionnant, élégant, convaincant, poignant, "
    "remarquable, magnifique, admirable, formidable, inventif, savoureux, envoûtant, parfait, délicat, soigné, "
    "étonnant, irrésistible, éblouissant, inspiré, juste, vif, maîtrisé, bouleversant, exemplaire, raffiné, sublime, "
    "somptueux, stupéfiant, délicieux, excellent, merveilleux, fascinant, prodigieux, impeccable"
)
ART_BAD = _list(
    "lent, plat, confus, ennuyeux, prévisible, bâclé, lourd, décevant, banal, maladroit, creux/creuse, interminable, "
    "raté, fade, pénible, laborieux, artificiel, grotesque, poussif, brouillon, insipide, ridicule, agaçant, convenu, "
    "médiocre, terne, vide, bancal, caricatural, pompeux, soporifique, incohérent, vulgaire, pesant, affligeant, "
    "désolant, navrant, insupportable, exaspérant, monotone"
)
GOODS_GOOD = _list(
    "solide, soigné, impeccable, parfait, remarquable, excellent, irréprochable, bien conçu, bien pensé, efficace, "
    "satisfaisant, exemplaire, étonnant, superbe, adapté, formidable, convaincant, réussi, bluffant, magnifique"
)
GOODS_BAD = _list(
    "décevant, médiocre, raté, mal conçu, mal pensé, insuffisant, catastrophique, bâclé, ridicule, "
    "lamentable, inadapté, minable, désastreux, exécrable, pitoyable, bancal, affligeant, inacceptable, déplorable"
)
BOOKS = _nouns(
    "roman, polar, roman de cape et d'épée, conte, récit de voyage, livre, thriller, manga, roman policier, roman "
    "d'espionnage, roman historique, premier roman, roman d'aventures",
    "biographie, bande dessinée, nouvelle, autobiographie, légende, romance, saga, fable, pièce, trilogie, épopée, "
    "histoire d'amour",
)
FILMS = _nouns(
    "film, documentaire, dessin animé, court métrage, western, mélodrame, policier, téléfilm, film muet, feuilleton, "
    "remake",
    "comédie, série, comédie musicale, satire, adaptation, fresque historique, parodie, suite, romance, tragédie",
)
RECORDS = _nouns(
    "album, disque, concert, opéra, enregistrement, coffret, récital, oratorio, ballet, premier album, album de jazz",
    "symphonie, compilation, chanson, sonate, bande originale, comédie musicale, cantate, réédition, berceuse",
)
GOODS = _nouns(
    "aspirateur, casque, vélo, clavier, sac à dos, grille-pain, ventilateur, radiateur, appareil photo, téléphone, "
    "fer à repasser, parapluie, matelas, robot, réveil, fauteuil, barbecue, mixeur, écran, rasoir, thermomètre, stylo",
    "cafetière, lampe, valise, montre, tablette, imprimante, poussette, bouilloire, perceuse, enceinte, tente, "
    "balance, machine à coudre, tondeuse, chaise, guitare, poêle, trottinette, raquette, veste, théière, étagère",
)

# --- inference --------------------------------------------------------------------------------------------------------

KINDS = {
    Noun("véhicule", "m"): _nouns("vélo, camion, tracteur, bus", "moto, voiture"),
    Noun("meuble", "m"): _nouns("bureau, lit, canapé, buffet", "table, armoire, chaise, commode"),
    Noun("instrument", "m"): _nouns("piano, violon, tambour", "flûte, trompette, harpe"),
    Noun("outil", "m"): _nouns("marteau, tournevis, râteau", "scie, hache, pelle, perceuse"),
    Noun("vêtement", "m"): _nouns("manteau, pantalon, pull, gilet, costume", "robe, chemise, veste, cravate, jupe"),
    Noun("animal", "m"): _nouns("chien, chat, cheval, lapin, mouton", "vache, chèvre, poule, tortue"),
    Noun("fruit", "m"): _nouns("melon, abricot, citron", "pomme, poire, pêche, orange, figue"),
    Noun("bijou", "m"): _nouns("collier, bracelet", "bague, broche, alliance"),
    Noun("arbre", "m"): _nouns("chêne, tilleul, sapin, cerisier, bouleau"),
    Noun("récipient", "m"): _nouns("vase, seau, bol, bocal", "bouteille, cruche, carafe"),
    Noun("fleur", "f"): _nouns("lys", "rose, tulipe, orchidée, pivoine"),
    Noun("gâteau", "m"): _nouns("éclair, financier, macaron", "tarte, brioche, charlotte"),
    Noun("arme", "f"): _nouns("fusil, sabre, poignard, pistolet", "épée, lance"),
    Noun("bateau", "m"): _nouns("voilier, cargo, canot", "barque, péniche, pirogue"),
}
PEOPLE = _nouns(
    "avocat, banquier, boulanger, capitaine, champion, chanteur, directeur, député, gardien, gendarme, guide, "
    "journaliste, juge, maire, ministre, musicien, médecin, notaire, peintre, pharmacien, pilote, professeur, préfet, "
    "secrétaire, sénateur, acteur, facteur, marchand, berger, témoin, voyageur, touriste, voisin, cousin, élève",
    "chanteuse, cuisinière, directrice, journaliste, juge, ministre, notaire, présidente, voisine, actrice, avocate, "
    "danseuse, députée, marchande, gardienne, cousine, cliente, élève, étudiante, touriste, secrétaire",
)
OBTAINED = _list(
    "acheté, vendu, trouvé, reçu, dessiné, photographié, choisi, perdu, commandé, emprunté, montré, réclamé, aperçu, "
    "décrit, remarqué"
)
COLOURS = _list(
    "noir, gris, blanc/blanche, splendide, minuscule, énorme, superbe, ordinaire, étrange, magnifique, singulier"
)
DEEDS = _list(
    "réussi l'examen, signé la pétition, visité le musée, vu le film, lu le rapport, payé la facture, entendu "
    "l'explosion, accepté l'offre, quitté la salle, reçu la prime, compris la question, apporté le pain, manqué le "
    "bus, appris la nouvelle, perdu la clé, pris l'avion, voté la grève, participé au débat, écrit au ministre, refusé "
    "le compromis, suivi la formation, porté l'uniforme, touché le trésor, regardé le match, raté le train, fermé les "
    "yeux, traversé la rivière, visité la ville, fini le livre, ouvert la porte, aidé le maire, vendu la maison"
)
SUBGROUPS = _list(
    "de la région, à lunettes, aux cheveux longs, de la première table, de le bâtiment C, de le premier étage, de le "
    "quartier nord, de l'équipe rouge, de moins de trente ans"
)
COMPARED = _list(
    "grand, riche, patient, rapide, bavard, généreux, prudent, sévère, adroit, courageux, distrait, âgé, célèbre, "
    "fatigué, souple, têtu, ponctuel, organisé, méfiant, sportif, économe, curieux, musclé, poli, ambitieux, émotif"
)
COUNTED = tuple(
    (place, _list(things.replace("+", ",")))
    for place, _, things in (
        item.partition(":")
        for item in _list(
            "le village:habitants+maisons+fermes, la bibliothèque:livres+lecteurs+revues, le "
            "collège:élèves+ordinateurs, le musée:tableaux+statues+gravures, l'hôtel:chambres+salons, le "
            "parc:arbres+bancs+statues, le zoo:oiseaux+singes+reptiles, l'entreprise:salariés+camions+clients, le "
            "port:bateaux+grues, l'orchestre:musiciens+choristes, la ferme:vaches+moutons+poules, le "
            "stade:places+projecteurs, l'hôpital:lits+infirmiers, le train:voyageurs+sièges, la "
            "commune:électeurs+commerces, le club:joueurs+adhérents"
        )
    )
)

# --- paraphrases ------------------------------------------------------------------------------------------------------

TREATED = _list(
    "félicité, remplacé, interrogé, battu, critiqué, soutenu, remercié, invité, dénoncé, sauvé, filmé, poursuivi, "
    "accueilli, imité, devancé, accusé, rejoint, trahi, engagé, consolé, prévenu, photographié, appelé, trompé, "
    "défendu, surpris, convoqué, reconnu, encouragé, insulté, blessé, conseillé, réveillé, suivi, aidé, licencié, "
    "séduit, rassuré, dépassé, observé, oublié, recommandé, bousculé, provoqué"
)
OCCASIONS = _list(
    "lors de la réunion, pendant l'entracte, après le match, avant la cérémonie, à la fin de l'année, pendant la "
    "grève, au début du procès, la veille du concours, devant les caméras, en pleine nuit, pendant le repas, à la "
    "gare, dans le hall, le lendemain, avant l'orage, au cours du débat, à plusieurs reprises, sans hésiter, malgré "
    "le règlement, un soir d'hiver, pendant la guerre, à l'aube"
)
SUBJECTS = _list(
    "le français, la physique, l'histoire, le dessin, la chimie, le latin, la musique, l'anglais, la géographie, le "
    "chinois, l'économie, le russe, la biologie, le droit, l'arabe, la philosophie, le grec, la botanique, l'italien, "
    "la danse"
)
PEOPLES = _list(
    "belge, polonais, suisse, italien, espagnol, grec/grecque, russe, anglais, allemand, portugais, danois, suédois, "
    "hongrois, roumain, tchèque, bulgare, chinois, japonais, marocain, tunisien, algérien, sénégalais, libanais, "
    "brésilien, canadien"
)
PROFESSIONS = tuple(
    tuple(item.split("|"))
    for item in _list(
        "peintre|peintre, sculpteur|sculptrice, compositeur|compositrice, architecte|architecte, "
        "romancier|romancière, pianiste|pianiste, chimiste|chimiste, cinéaste|cinéaste, danseur|danseuse, "
        "géographe|géographe, mathématicien|mathématicienne, photographe|photographe, poète|poétesse, "
        "philosophe|philosophe, cycliste|cycliste, nageur|nageuse, historien|historienne, botaniste|botaniste, "
        "violoniste|violoniste, astronome|astronome"
    )
)
BUILDINGS = _nouns(
    "château, pont, théâtre, moulin, phare, couvent, lavoir, marché couvert, hôpital, beffroi, stade, aqueduc, "
    "palais, musée",
    "chapelle, église, gare, mairie, école, tour, fontaine, caserne, halle, abbaye, prison, bibliothèque, poste, "
    "mosquée",
)
SOLD = _nouns(
    "tableau, domaine, manuscrit, cheval, moulin, terrain, violon, voilier, brevet, château, hôtel, journal, "
    "restaurant",
    "maison, ferme, collection, vigne, statue, imprimerie, librairie, voiture, montre, entreprise, île, forêt, usine",
)
PIECES = _nouns(
    "poème, scénario, article, roman, discours, manifeste, rapport, livret",
    "chanson, pièce, nouvelle, préface, lettre, enquête",
)
MADE = tuple(
    tuple(item.split("|"))
    for item in _list(
        "écrit|traduit, commencé|terminé, commandé|payé, ébauché|achevé, dicté|corrigé, proposé|refusé, copié|vendu"
    )
)
DIRECTIONS = (("nord", "sud"), ("est", "ouest"))
MONTHS = _list("janvier, février, mars, avril, mai, juin, juillet, août, septembre, octobre, novembre, décembre")

# --- names ------------------------------------------------------------------------------------------------------------

PLACE_NAMES = _list(
    "Paris, Orange, Nancy, Valence, Vienne, Laval, Clermont, Beaufort, Rochefort, Beauvais, Bordeaux, Lyon, Verdun, "
    "Cambrai, Chinon, Langres, Nevers, Sancerre, Lourdes, Castres, Vernon, Dinan, Cluny, Ferney, Loches, Thouars, "
    "Valmy, Nogent, Royan, Vallon, Sully, Mirepoix, Bellac, Colombes, Chablis, Fontenay, Marsan, Bellegarde, Montfort, "
    "Villeneuve, Lespinasse, Saint-Cyr"
)
"""Towns and surnames, and names of firms and works too."""
FIRST_NAMES = _list(
    "Alma, Aurore, Blanche, Carmen, Diane, Florence, Garance, Iris, Jade, Marguerite, Marine, Olympe, Rose, Victoria, "
    "Violette"
)
"""First names of women, and names of firms and works too; some are also words."""
VILLAGES = tuple(
    f"Saint-{saint}-{rest}"
    for saint in _list("Aubin, Cyprien, Léger, Maurice, Ouen, Romain, Sulpice, Vaast")
    for rest in _list("sur-Loire, en-Forêt, les-Bois, du-Mont, sous-Bois, la-Rivière")
)
LANDS = _nouns(
    "Portugal, Canada, Maroc, Japon, Brésil, Sénégal, Jura, Cantal, Var, Périgord, Quercy, Danemark, Liban, Pérou",
    "Bretagne, Suisse, Italie, Alsace, Provence, Savoie, Belgique, Pologne, Corse, Auvergne, Tunisie, Grèce, Hongrie, "
    "Normandie, Lorraine, Picardie, Touraine, Suède, Islande",
)
RIVERS = _nouns(
    "Rhône, Tarn, Lot, Doubs, Cher, Rhin, Danube", "Loire, Seine, Garonne, Dordogne, Saône, Meuse, Vilaine, Isère"
)
CONCERNS = _nouns(
    "groupe, fabricant, constructeur, fournisseur, transporteur, distributeur, assureur",
    "société, entreprise, marque, enseigne, firme, banque, chaîne, maison",
)
FIRMS = _list(
    "Verdane, Solivert, Nortex, Airalis, Cimaro, Lumevia, Batigral, Ferrolac, Aquitel, Novagri, Transluce, Médipho, "
    "Orvalis, Polymar, Sidérane, Textalor, Unibois, Vitralux, Électrane, Domexia, Gazoval, Kerlann, Ravelin, "
    "Péchalor, Minotier, Safrane"
)
INSTITUTIONS = _nouns(
    "Crédit du Ponant, Institut des mines, Parti des campagnes, Conseil du livre, Syndicat des cheminots, Comptoir des "
    "épices",
    "Banque des Alpes, École des beaux-arts, Union des marins, Compagnie des tramways, Société des eaux, Ligue des "
    "poètes, Fédération des bergers, Académie des jardins, Caisse des pêcheurs",
)
CLUBS = _nouns("Olympique de Gap, Racing Club de Dole, Stade nantais", "Étoile de Niort, Jeunesse de Vesoul")
WORKS = _list(
    "La Nuit des moulins, Les Enfants du port, Le Dernier Phare, Un été sans pain, Le Chant des ardoises, Rue des "
    "Tanneurs, La Valse grise, Les Ombres douces, Le Jardin noir, Cent jours de pluie, La Colère du fleuve, Une "
    "saison blanche, Le Secret de Marthe, Adieu Camille, Les Quatre Vents, La Maison rouge, Le Retour du capitaine, "
    "Mon oncle Auguste, Les Trois Rives, La Lettre perdue, Soleil de mars, Le Roi des oies, Lettres à Sophie, Nuits "
    "de Marseille"
)
FESTIVALS = _nouns(
    "Festival des brumes, Salon du conte, Carnaval de Dieppe, Printemps des fanfares, Mois du dessin",
    "Fête du cidre, Nuit des étoiles, Foire aux laines, Semaine du théâtre",
)
CONTESTS = _nouns(
    "Grand Prix de Reims, Tour de Bretagne, Trophée des cimes, Critérium de Vienne, Rallye de Corse",
    "Coupe des nations, Course des phares, Ronde des moulins, Traversée de Royan",
)
HISTORY = _nouns(
    "traité de Cambrai, siège de Sedan, congrès de Vienne",
    "guerre des Farines, bataille de Valmy, Révolution française, Grande Peste, conférence de Nancy",
)
